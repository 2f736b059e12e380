"""Migrations: up and down with data, by concurrent processes, and on databases they must refuse."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection

from service.domain import Message, MissingAgent
from service.errors import StorageUnavailable
from service.settings import SettingsError
from service.store.accounts.tables import users
from service.store.audit.tables import audit
from service.store.connections.engines import open_engines
from service.store.connections.urls import parse_url
from service.store.database import Database
from service.store.journal.batch import Batch
from service.store.journal.writer import JournalWriter
from service.store.migrate import check, migrate
from service.store.revisions import FOLDER, list_revisions
from service.store.runs import RunStore
from service.store.search.search import Search
from service.store.usage.tables import usage_sums
from tests._support.runs.store_records import (
    ME,
    make_agent_answer,
    make_key,
    make_run,
    make_run_end,
    make_segment,
)
from tests._support.servers.databases import Postgres

# Objects of the migrations that the schema does not describe.
_ITS_OWN = ("counts", "run_words", "run_stems")


async def test_an_empty_database_is_migrated_once(database_url: str) -> None:
    assert "no tables" in str(await check(database_url))
    assert await migrate(database_url) == list_revisions()
    assert await check(database_url) is None
    assert await migrate(database_url) == []


async def test_of_several_concurrent_migrations_one_is_applied(database_url: str) -> None:
    results = await asyncio.gather(*(migrate(database_url) for _ in range(4)))
    assert sorted(results) == [[], [], [], list_revisions()]


async def test_a_database_works_after_migrating_down_and_up(database_url: str) -> None:
    await migrate(database_url)
    await _store_run(database_url)
    assert await migrate(database_url, "base") == list_revisions()[::-1]
    assert "no tables" in str(await check(database_url))
    assert await migrate(database_url) == list_revisions()
    await _store_run(database_url)


async def test_data_survives_migrating_to_the_first_revision_and_back(
    database_url: str,
) -> None:
    await migrate(database_url)
    run_id = await _store_run(database_url)
    assert await migrate(database_url, "0001") == list_revisions()[:0:-1]
    assert "run `python -m service migrate`" in str(await check(database_url))
    assert await migrate(database_url) == list_revisions()[1:]
    database = Database(database_url)
    stored = await RunStore(database).get(ME, run_id)
    await database.close()
    assert stored is not None
    assert stored.answer == "An answer."


async def test_a_run_degraded_before_its_reasons_were_stored_was_degraded_by_its_combiner(
    database_url: str,
) -> None:
    await migrate(database_url)
    run_id = await _store_run(
        database_url, missing=[MissingAgent("a", "straggler")], degraded_by=["agents"]
    )
    await migrate(database_url, "0004")
    await migrate(database_url)
    database = Database(database_url)
    stored = await RunStore(database).get(ME, run_id)
    await database.close()
    assert stored is not None
    assert (stored.missing, stored.degraded_by) == ((), ("combiner",))


async def _store_run(url: str, **end: Any) -> str:
    database = Database(url)
    run = make_run(key=make_key(), initial_messages=(Message("user", "a"),))
    batch = Batch(
        openings=[run],
        segments=[make_segment(run, 1, 2)],
        answers=[make_agent_answer(run)],
        endings=[make_run_end(run, **end)],
    )
    await JournalWriter(database).write(batch)
    await database.close()
    return run.run_id


async def test_a_database_of_a_newer_version_is_not_changed(database_url: str) -> None:
    await migrate(database_url)
    await _execute(database_url, "UPDATE alembic_version SET version_num = '9999'")
    assert "by a newer version" in str(await check(database_url))
    with pytest.raises(StorageUnavailable, match="by a newer version"):
        await migrate(database_url)


async def test_an_unknown_migration_is_refused(database_url: str) -> None:
    with pytest.raises(SettingsError, match="There is no migration 0815"):
        await migrate(database_url, "0815")


async def test_a_migration_that_fails_changes_nothing(database_url: str) -> None:
    await _execute(database_url, "CREATE TABLE workers (id text)")  # a conflict with the last table
    with pytest.raises(sa.exc.DBAPIError):
        await migrate(database_url)
    assert await _run_on(database_url, lambda sync: sa.inspect(sync).get_table_names()) == [
        "workers"
    ]


async def test_the_migrated_tables_match_the_schema(ready_url: str) -> None:
    assert audit.metadata is usage_sums.metadata is users.metadata

    def compare(connection: Connection) -> list[Any]:
        options = {"include_name": _is_described, "compare_type": True}
        context = MigrationContext.configure(connection, opts=options)
        return list(compare_metadata(context, users.metadata))

    assert await _run_on(ready_url, compare) == []


def _is_described(name: str | None, _kind: str, parents: Any) -> bool:
    names = (name or "", parents.get("table_name") or "")
    return not any(part in each for each in names for part in _ITS_OWN)


def test_the_files_are_numbered_in_the_order_of_the_migrations() -> None:
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    found = ScriptDirectory.from_config(config)
    assert [each.revision for each in found.walk_revisions()][::-1] == list_revisions()


async def _run_on(url: str, work: Callable[[Connection], Any]) -> Any:
    engines = open_engines(parse_url(url), 4.0, may_create=True)
    async with engines.writing.begin() as connection:
        result = await connection.run_sync(work)
    await engines.close(4.0)
    return result


async def _execute(url: str, statement: str) -> None:
    await _run_on(url, lambda connection: connection.execute(sa.text(statement)))


# --- invalid locations of a database ---


async def test_the_folder_of_a_new_file_is_created(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/a/b/service.db"
    assert await migrate(url) == list_revisions()


async def test_a_folder_in_place_of_the_file_is_reported(tmp_path: Path) -> None:
    for act in (migrate, check):
        with pytest.raises(SettingsError, match="is a folder, not a file"):
            await act(f"sqlite:///{tmp_path}")


async def test_a_file_that_is_no_database_is_reported_and_not_changed(tmp_path: Path) -> None:
    path = tmp_path / "letter.txt"
    path.write_text("Dear Sir or Madam, " * 100)
    for act in (migrate, check):
        with pytest.raises(SettingsError, match="not a SQLite database"):
            await act(f"sqlite:///{path}")
    assert path.read_text().startswith("Dear Sir")


async def test_a_folder_that_cannot_be_created_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="cannot be written to"):
        await migrate(f"sqlite:///{tmp_path}/file/service.db")


@pytest.fixture
def locked_folder(tmp_path: Path) -> Iterator[Path]:
    """A read-only folder, even for root."""
    tmp_path.chmod(0o500)
    if os.geteuid():
        yield tmp_path
        return
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", tmp_path], check=True)
    yield tmp_path
    subprocess.run(["umount", tmp_path], check=True)


async def test_a_read_only_folder_is_reported(locked_folder: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be written to"):
        await migrate(f"sqlite:///{locked_folder}/service.db")


async def test_a_server_that_is_down_is_reported(postgres: Postgres) -> None:
    url = "postgresql://postgres@127.0.0.1:1/nothing"
    for act in (migrate, check):
        with pytest.raises(StorageUnavailable) as caught:
            await act(url)
        assert caught.value.reason == "down"


async def test_a_missing_database_is_reported(postgres: Postgres) -> None:
    with pytest.raises(StorageUnavailable):
        await migrate(postgres.url("nowhere"))


async def test_the_file_is_synchronized_at_every_commit_and_deleted_data_is_overwritten(
    sqlite_ready: str,
) -> None:
    database = Database(sqlite_ready)

    async def pragmas(connection: AsyncConnection) -> list[object]:
        names = ("journal_mode", "synchronous", "foreign_keys", "secure_delete")
        return [await connection.scalar(sa.text(f"PRAGMA {name}")) for name in names]

    assert await database.write(pragmas) == ["wal", 2, 1, 1]
    await database.close()


async def test_texts_without_spaces_are_indexed_by_the_migration(database_url: str) -> None:
    await migrate(database_url)
    texts = [f"重力と引力{number}" for number in range(45)]  # several parts of the migration
    await _store_answers(database_url, *texts, "Gravity and attraction.")
    queries = ("gravity", "attractions", "what", "引力")
    found = [await _search(database_url, query) for query in queries]
    assert [len(each) for each in found] == [1, 1, 0, 45]
    await migrate(database_url, "0005")
    await migrate(database_url)
    assert [await _search(database_url, query) for query in queries] == found


async def _store_answers(url: str, *texts: str) -> None:
    database = Database(url)
    for text in texts:
        run = make_run()
        batch = Batch(openings=[run], endings=[make_run_end(run, answer=text)])
        await JournalWriter(database).write(batch)
    await database.close()


async def _search(url: str, query: str) -> list[tuple[str, float, str]]:
    """Return id, rank and snippet of each hit."""
    database = Database(url)
    page = await Search(database).find(ME, query, limit=100)
    await database.close()
    return [(hit.run.id, hit.rank, hit.snippet) for hit in page.items]
