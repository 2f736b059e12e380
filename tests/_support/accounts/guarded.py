"""A service that requires credentials: a static key, users' keys, and tokens of an issuer."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests._support.accounts.issuer import AUDIENCE, ISSUER, Issuer
from tests._support.accounts.rows import AccountRows
from tests._support.servers.processes import Process, run_server

STATIC_KEY = "a-static-key-0123456789"
PAGE = "https://app.example.org"
"""The origin of a page that may use the service."""


@dataclass(frozen=True)
class Guarded:
    """The service, the accounts in its database, and the issuer of its tokens."""

    process: Process
    rows: AccountRows
    issuer: Issuer

    @property
    def url(self) -> str:
        return self.process.url


@contextmanager
def serve_guarded(folder: Path, settings: Mapping[str, str]) -> Iterator[Guarded]:
    """Run a service in `folder` with these settings and those of authentication."""
    issuer = Issuer()
    (folder / "jwks.json").write_text(json.dumps(issuer.jwks))
    database = f"sqlite:///{folder}/service.db"
    access = {
        "API_KEY": STATIC_KEY,
        "JWT_JWKS": "jwks.json",
        "JWT_ISSUER": ISSUER,
        "JWT_AUDIENCE": AUDIENCE,
        "ALLOWED_ORIGINS": PAGE,
        "DATABASE_URL": database,
    }
    with run_server(folder, "serve", "--port", "0", **{**settings, **access}) as process:
        yield Guarded(process, AccountRows(database), issuer)
