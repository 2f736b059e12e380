"""The service as each kind of caller sees it, compared with `/openapi.json` by schemathesis."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests._support.accounts.rows import AccountRows
from tests._support.paths import ROOT
from tests._support.servers.processes import Process, run_server
from tests._support.servers.services import Told

CONFIG = ROOT / "tests" / "served" / "api" / "schemathesis.toml"
EXAMPLES = os.environ.get("SCHEMATHESIS_EXAMPLES", "1")
_STATIC_KEY = "a-static-key-of-the-settings-0123456789"


@dataclass(frozen=True)
class _Callers:
    """A service with accounts, and the headers of each kind of caller."""

    process: Process
    headers: Mapping[str, Mapping[str, str]]


@pytest.fixture(scope="module")
def callers(told: Told, tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Callers]:
    folder = tmp_path_factory.mktemp("callers")
    url = f"sqlite:///{folder}/service.db"
    settings = {"DATABASE_URL": url, "AUTH": "required", "API_KEY": _STATIC_KEY}
    with run_server(folder, "serve", "--port", "0", **{**told(folder), **settings}) as process:
        rows = AccountRows(url)
        users = {
            role: asyncio.run(rows.add_user(f"a-{role}", role))
            for role in ("viewer", "user", "admin")
        }
        headers: dict[str, Mapping[str, str]] = {
            "anonymous": {},
            "static key": {"X-API-Key": _STATIC_KEY},
            **{role: user.headers for role, user in users.items()},
        }
        yield _Callers(process, headers)


@pytest.mark.timeout(200 + 100 * int(EXAMPLES))
@pytest.mark.parametrize("caller", ["anonymous", "static key", "viewer", "user", "admin"])
def test_every_caller_receives_described_responses_and_no_5xx(
    callers: _Callers, caller: str, tmp_path: Path
) -> None:
    headers = [f"{name}: {value}" for name, value in callers.headers[caller].items()]
    tested = subprocess.run(
        [
            Path(sys.executable).with_name("schemathesis"),
            *("--config-file", CONFIG),
            *("run", f"{callers.process.url}/openapi.json"),
            *(part for header in headers for part in ("--header", header)),
            # The kind of the data is tested elsewhere: most callers may not use most addresses.
            *("--checks", "not_a_server_error,status_code_conformance,content_type_conformance"),
            *("--phases", "fuzzing", "--seed", "1", "--max-examples", EXAMPLES),
            *(
                "--request-timeout",
                "20",
                "--continue-on-failure",
                "--no-color",
                "--warnings",
                "off",
            ),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert tested.returncode == 0, tested.stdout + tested.stderr
