"""Brings a database's tables to this version: what `python -m service migrate` does."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from service.errors import ServiceError, StorageUnavailable
from service.settings import SettingsError
from service.store.connections.engines import open_engines
from service.store.connections.failures import FOREIGN, unavailable
from service.store.connections.urls import Address, Dialect, parse_url
from service.store.revisions import FOLDER, applied_revision, fault, revisions

_LOCK = 7_203_114_557  # any number, as long as nobody else in the database uses it
_TIMEOUTS_S: Mapping[Dialect, float] = {
    "sqlite": 30.0,  # for another process to end its migration
    "postgresql": 3_600.0,  # for that, or for an index over a large table
}


async def migrate(url: str, down_to: str | None = None) -> list[str]:
    """Bring the database to this version, or back to `down_to` ("base": no tables at all).

    Returns the migrations that were applied or taken back, in that order; none when there was
    nothing to do. Another process that does the same is waited for.
    Raises SettingsError, and StorageUnavailable when the database cannot be used.
    """
    if down_to not in (None, "base", *revisions()):
        raise SettingsError(f"There is no migration {down_to}; there are {', '.join(revisions())}.")
    address = parse_url(url)
    if address.dialect == "sqlite":
        _prepare_folder(address.path)
    engines = open_engines(address, _TIMEOUTS_S[address.dialect])
    try:
        return await _on(engines.writing, down_to)
    except FOREIGN as error:
        refusal = _refusal(error, address)
        if refusal is None:
            raise
        raise refusal from error
    finally:
        await engines.writing.dispose()


async def check(url: str, timeout_s: float = 4.0) -> str | None:
    """Return why the database's tables cannot be used as they are, None when they can.

    Raises SettingsError, and StorageUnavailable when the database cannot be asked.
    """
    address = parse_url(url)
    if address.dialect == "sqlite":
        _check_place(address.path)
        if not address.path.exists():
            return fault(None)
    engines = open_engines(address, timeout_s)
    try:
        async with engines.reading.connect() as connection:
            return fault(await applied_revision(connection))
    except FOREIGN as error:
        refusal = _refusal(error, address)
        if refusal is None:
            raise
        raise refusal from error
    finally:
        await engines.reading.dispose()


async def _on(engine: AsyncEngine, down_to: str | None) -> list[str]:
    async with engine.begin() as connection:
        await _wait_for_others(connection)
        before = await applied_revision(connection)
        sentence = fault(before)
        if before is not None and before not in revisions():
            raise StorageUnavailable(str(sentence), reason="schema")
        await connection.run_sync(_alembic, down_to)
        after = await applied_revision(connection)
    known = revisions()
    start, end = (known.index(each) + 1 if each else 0 for each in (before, after))
    return known[start:end] if end >= start else known[end:start][::-1]


async def _wait_for_others(connection: AsyncConnection) -> None:
    # On SQLite the transaction itself is the lock.
    if connection.dialect.name == "postgresql":
        await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))


def _alembic(connection: Connection, down_to: str | None) -> None:
    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.attributes["connection"] = connection
    if down_to is None:
        command.upgrade(config, "head")
    else:
        command.downgrade(config, down_to)


def _refusal(error: BaseException, address: Address) -> ServiceError | SettingsError | None:
    """Return what to say of a database that cannot be used, None when `error` is a bug."""
    if address.dialect == "sqlite" and "not a database" in str(error):
        return SettingsError(f"DATABASE_URL: {address.path} is a file, but not a SQLite database.")
    return unavailable(error)


def _prepare_folder(path: Path) -> None:
    with suppress(OSError):  # what is wrong with the folder is said next
        path.parent.mkdir(parents=True, exist_ok=True)
    _check_place(path)
    if not path.parent.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise SettingsError(f"DATABASE_URL: {path} cannot be written to.")


def _check_place(path: Path) -> None:
    if path.is_dir():
        raise SettingsError(f"DATABASE_URL: {path} is a folder, not a file.")
