"""The libraries that a service with default settings imports until its first answer."""

from __future__ import annotations

import re
from pathlib import Path

from tests._support.clients.api import assert_whole, client_of
from tests._support.servers.processes import run, serving

# Each takes 10 to 110 ms of the start, and memory of every process.
UNUSED = {
    "alembic": "a database of another version",
    "argon2": "passwords",
    "asyncpg": "PostgreSQL",
    "cryptography": "tokens of other issuers",
    "grpc": "the export of traces",
    "jwt": "tokens of other issuers",
    "markdown_it": "pages that show an answer",
    "nh3": "pages that show an answer",
    "opentelemetry.instrumentation": "the export of traces",
    "opentelemetry.sdk": "the export of traces",
    "pygments": "pages that show an answer",
    "redis": "limits of several processes",
    "rich": "the terminal client",
    "rs_bpe": "long conversations",
    "service.evaluation.running": "other commands",
    "service.terminal": "the terminal client",
    "throttled": "limited callers",
}
_IMPORTED = re.compile(r"^import time:\s+\d+ \|\s+\d+ \|\s+(\S+)$", re.MULTILINE)


async def test_a_start_imports_no_library_that_the_default_settings_do_not_use(
    tmp_path: Path,
) -> None:
    settings = {
        "DATABASE_URL": f"sqlite:///{tmp_path}/service.db",
        "PYTHONPROFILEIMPORTTIME": "1",  # the interpreter reports each import on stderr
    }
    run(tmp_path, "migrate", **settings).wait()
    with serving(run(tmp_path, "serve", "--port", "0", **settings)) as process:
        async with client_of(process.url) as api:
            assert_whole(await api.ask())
        imported = set(_IMPORTED.findall(process.err))
    assert "service.app" in imported
    unneeded = {
        name: needed_for
        for name, needed_for in UNUSED.items()
        if any(each == name or each.startswith(f"{name}.") for each in imported)
    }
    assert not unneeded
