"""The commands `usage` and `audit`."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from service.cli.main import main
from service.domain import Usage
from service.store.audit.entries import AuditEntry
from service.store.audit.log import AuditLog
from service.store.database import Database
from service.store.journal.batch import Batch
from service.store.journal.writer import JournalWriter
from service.store.migrate import migrate
from service.store.usage.records import UsageShare
from tests._support.runs.store_records import ME, make_run, make_run_end

_DAYS = ("--from", "2026-03-01", "--to", "2026-03-31")
_SHARES = (
    UsageShare(agent="llm-1", model="a", usage=Usage(10, 20), cost_usd=0.5, is_wasted=True),
    UsageShare(agent="", model="", usage=Usage(), cost_usd=0.0),
)


@pytest.fixture(autouse=True)
def file(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A database with a run and three rows in the audit log."""
    monkeypatch.setenv("DATABASE_URL", sqlite_url)
    asyncio.run(_fill(sqlite_url))
    return Path(sqlite_url.removeprefix("sqlite:///"))


async def _fill(url: str) -> None:
    await migrate(url)
    database, run = Database(url), make_run()
    await JournalWriter(database).write(Batch([run], endings=[make_run_end(run, shares=_SHARES)]))
    entries = [AuditEntry(action="key.created", actor="ann", target=str(n)) for n in range(3)]
    await AuditLog(database).append(entries)
    await database.close()


def _run(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    capsys.readouterr()
    assert main(arguments) == code
    return capsys.readouterr().out


def _run_json(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    return json.loads(_run(capsys, *arguments, "--json", code=code))


def test_usage_is_a_table_or_json(capsys: pytest.CaptureFixture[str]) -> None:
    shown = _run_json(capsys, "usage", "--by", "user,agent", *_DAYS)
    assert [(each["user"], each["agent"], each["runs"]) for each in shown["items"]] == [
        (ME, "llm-1", 1)
    ]
    assert (shown["total"]["cost"], shown["total"]["wasted_cost"]) == (0.5, 0.5)
    table = _run(capsys, "usage", "--by", "user", *_DAYS).splitlines()
    assert table[0].split()[:2] == ["USER", "RUNS"]
    assert [line.split()[:2] for line in table[1:]] == [[ME, "1"], ["total", "1"]]
    assert _run_json(capsys, "usage", "--user", "ann", *_DAYS)["total"]["runs"] == 0
    _run(capsys, "usage", "--by", "week", code=1)


def test_rows_of_the_audit_log_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    items = _run_json(capsys, "audit", "list", "--actor", "ann", "--limit", "2")["items"]
    assert [each["number"] for each in items] == [3, 2]
    assert _run_json(capsys, "audit", "list", "--to", "2026-01-01")["items"] == []
    assert "key.created" in _run(capsys, "audit", "list")


def test_a_verification_fails_with_the_number_of_a_changed_row(
    capsys: pytest.CaptureFixture[str], file: Path
) -> None:
    printed = _run_json(capsys, "audit", "verify")["hash"]
    assert printed in _run(capsys, "audit", "verify", "--since", printed)
    _run(capsys, "audit", "verify", "--since", "f" * 64, code=1)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("DROP TRIGGER audit_refuses_update")
        connection.execute("UPDATE audit SET actor = 'bob' WHERE number = 2")
        connection.commit()
    assert _run(capsys, "audit", "verify", code=1).startswith("Row 2 was changed")
    faults = _run_json(capsys, "audit", "verify", code=1)["faults"]
    assert [(each["kind"], each["number"]) for each in faults] == [("changed", 2)]
