"""A service with accounts and rules of limits: an administrator, a user and a viewer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import httpx

from tests._support.accounts.visitors import PASSWORD, Visitor, code_of, visiting
from tests._support.llm.client_ensembles import AGENTS, ENSEMBLES, PRICES
from tests._support.llm.ensembles import as_toml
from tests._support.patience import PATIENCE_S
from tests._support.servers.processes import Process, run_server
from tests._support.servers.services import UNHURRIED_STORE

ADMIN, USER, VIEWER = "root", "bob", "vic"

_LIMITS = """
[[rules]]
name = "everyone"
match.role = "user"
requests = "1000/minute"
tokens = "900000/day"
cost_usd = "900000/month"
"""


@contextmanager
def serve_with_mock(folder: Path, **settings: str) -> Iterator[Process]:
    """Run a service in `folder`, without accounts unless `settings` turn them on."""
    (folder / "quick-ensembles.toml").write_text(as_toml(AGENTS, ENSEMBLES, PRICES))
    (folder / "rules.toml").write_text(_LIMITS)
    files = {
        "ENSEMBLES_FILE": str(folder / "quick-ensembles.toml"),
        "LIMITS_FILE": str(folder / "rules.toml"),
    }
    given = {**UNHURRIED_STORE, **files, "DRAIN_S": "1", **settings}
    with run_server(folder, "serve", "--port", "0", **given) as process:
        yield process


@contextmanager
def serve_staffed(folder: Path, **settings: str) -> Iterator[Process]:
    """Run a service with the users ADMIN, USER and VIEWER, whose password is PASSWORD."""
    with serve_with_mock(folder, AUTH="required", **settings) as process:
        with httpx.Client(base_url=process.url, timeout=PATIENCE_S) as http:
            _register(http, ADMIN, invite=code_of(process))
            login = http.post("/api/auth/login", json={"name": ADMIN, "password": PASSWORD})
            token = {"X-CSRF-Token": login.json()["csrf_token"]}
            for name, role in ((USER, "user"), (VIEWER, "viewer")):
                body = {"name": name, "password": PASSWORD, "role": role}
                added = http.post("/api/users", json=body, headers=token)
                assert added.status_code == 201, added.text
        yield process


@asynccontextmanager
async def entering(process: Process, name: str) -> AsyncIterator[Visitor]:
    """Yield a visitor who has logged in, and asks for pages."""
    async with visiting(process.url) as visitor:
        assert (await visitor.log_in(name)).status_code == 200
        visitor.http.headers["Accept"] = "text/html"
        yield visitor


async def ask(visitor: Visitor, message: str, ensemble: str = "fanout") -> None:
    """Ask a question and read the complete answer."""
    body = {"message": message, "message_id": "m", "ensemble": ensemble}
    answered = await visitor.send("POST", "/api/process", json=body)
    assert answered.status_code == 200, answered.text


def _register(http: httpx.Client, name: str, **fields: str) -> None:
    body = {"name": name, "password": PASSWORD, **fields}
    registered = http.post("/api/auth/register", json=body)
    assert registered.status_code == 201, registered.text
