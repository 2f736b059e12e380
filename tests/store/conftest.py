"""Databases with all tables, of both kinds: copies of one, since migrating each takes too long."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from service.store.database import Database
from service.store.journal.writer import JournalWriter
from service.store.migrate import migrate
from service.store.runs import RunStore
from service.store.workers import Workers
from tests._support.runs.memory_store import memory_parts
from tests._support.runs.store_records import Parts
from tests._support.servers.databases import Postgres

Fill = Callable[[Parts], Awaitable[object]]


def _migrate(url: str) -> None:
    with ThreadPoolExecutor(1) as threads:  # the current thread may run a loop
        threads.submit(lambda: asyncio.run(migrate(url))).result()


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("migrated") / "service.db"
    _migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def migrated_database(postgres: Postgres) -> Iterator[str]:
    """The name of a migrated PostgreSQL database, the template of others."""
    url = postgres.new_database()
    _migrate(url)
    yield url.rpartition("/")[2]
    postgres.drop_database(url)


@pytest.fixture
def sqlite_ready(migrated_file: Path, tmp_path: Path) -> str:
    """The URL of a SQLite file with all tables, and no rows."""
    path = shutil.copy(migrated_file, tmp_path / "service.db")
    return f"sqlite:///{path}"


@pytest.fixture
def postgres_ready(postgres: Postgres, migrated_database: str) -> Iterator[str]:
    """The URL of a PostgreSQL database with all tables, and no rows."""
    url = postgres.new_database(migrated_database)
    yield url
    postgres.drop_database(url)


@pytest.fixture(scope="module")
def filled_url(
    request: pytest.FixtureRequest, migrated_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, Fill], str]:
    """Return the URL of a database that is filled once, for tests of a module that read it."""
    urls: dict[str, str] = {}

    def fill_once(kind: str, fill: Fill) -> str:
        if kind not in urls:
            if kind == "sqlite":
                path = shutil.copy(migrated_file, tmp_path_factory.mktemp("filled") / "service.db")
                urls[kind] = f"sqlite:///{path}"
            else:
                template: str = request.getfixturevalue("migrated_database")
                postgres: Postgres = request.getfixturevalue("postgres")
                urls[kind] = postgres.new_database(template)
                request.addfinalizer(lambda: postgres.drop_database(urls[kind]))
            with ThreadPoolExecutor(1) as threads:
                threads.submit(lambda: asyncio.run(_fill(urls[kind], fill))).result()
        return urls[kind]

    return fill_once


async def _fill(url: str, fill: Fill) -> None:
    database = Database(url, timeout_s=60)
    try:
        await fill(Parts(database, JournalWriter(database), RunStore(database), Workers(database)))
    finally:
        await database.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def store_kind(request: pytest.FixtureRequest) -> str:
    """A kind of store: both databases by default. Contract tests add `memory`."""
    kind: str = request.param
    return kind


@pytest.fixture
def ready_url(request: pytest.FixtureRequest, store_kind: str) -> str:
    """The URL of a database with all tables, for each kind."""
    name = {"sqlite": "sqlite_ready", "postgresql": "postgres_ready"}[store_kind]
    url: str = request.getfixturevalue(name)
    return url


@pytest.fixture
async def database(ready_url: str) -> AsyncIterator[Database]:
    """A database with all tables, for each kind."""
    opened = Database(ready_url)
    yield opened
    await opened.close()


@pytest.fixture
def parts(request: pytest.FixtureRequest, store_kind: str) -> Parts:
    """The journal, the runs and the workers of a store, for each kind."""
    if store_kind == "memory":
        return memory_parts()
    database: Database = request.getfixturevalue("database")
    return Parts(database, JournalWriter(database), RunStore(database), Workers(database))
