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
from service.store.connections.failures import DRIVER_ERRORS, translate_error
from service.store.connections.urls import Address, Dialect, parse_url
from service.store.revisions import FOLDER, describe_mismatch, list_revisions, read_applied_revision

_ADVISORY_LOCK = 7_203_114_557  # any number, as long as nobody else in the database uses it
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
    if down_to not in (None, "base", *list_revisions()):
        raise SettingsError(
            f"There is no migration {down_to}; there are {', '.join(list_revisions())}."
        )
    address = parse_url(url)
    if address.dialect == "sqlite":
        _prepare_folder(address.path)
    engines = open_engines(address, _TIMEOUTS_S[address.dialect])
    try:
        return await _migrate_on(engines.writing, down_to)
    except DRIVER_ERRORS as error:
        refusal = _translate_error(error, address)
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
        _check_is_no_folder(address.path)
        if not address.path.exists():
            return describe_mismatch(None)
    engines = open_engines(address, timeout_s)
    try:
        async with engines.reading.connect() as connection:
            return describe_mismatch(await read_applied_revision(connection))
    except DRIVER_ERRORS as error:
        refusal = _translate_error(error, address)
        if refusal is None:
            raise
        raise refusal from error
    finally:
        await engines.reading.dispose()


async def _migrate_on(engine: AsyncEngine, down_to: str | None) -> list[str]:
    async with engine.begin() as connection:
        await _lock_migrations(connection)
        before = await read_applied_revision(connection)
        sentence = describe_mismatch(before)
        if before is not None and before not in list_revisions():
            raise StorageUnavailable(str(sentence), reason="schema")
        await connection.run_sync(_run_alembic, down_to)
        after = await read_applied_revision(connection)
    known = list_revisions()
    start, end = (known.index(each) + 1 if each else 0 for each in (before, after))
    return known[start:end] if end >= start else known[end:start][::-1]


async def _lock_migrations(connection: AsyncConnection) -> None:
    # On SQLite the transaction itself is the lock.
    if connection.dialect.name == "postgresql":
        await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_ADVISORY_LOCK)))


def _run_alembic(connection: Connection, down_to: str | None) -> None:
    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.attributes["connection"] = connection
    if down_to is None:
        command.upgrade(config, "head")
    else:
        command.downgrade(config, down_to)


def _translate_error(error: BaseException, address: Address) -> ServiceError | SettingsError | None:
    """Return what to say of a database that cannot be used, None when `error` is a bug."""
    if address.dialect == "sqlite" and "not a database" in str(error):
        return SettingsError(f"DATABASE_URL: {address.path} is a file, but not a SQLite database.")
    return translate_error(error)


def _prepare_folder(path: Path) -> None:
    with suppress(OSError):  # what is wrong with the folder is said next
        path.parent.mkdir(parents=True, exist_ok=True)
    _check_is_no_folder(path)
    if not path.parent.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise SettingsError(f"DATABASE_URL: {path} cannot be written to.")


def _check_is_no_folder(path: Path) -> None:
    if path.is_dir():
        raise SettingsError(f"DATABASE_URL: {path} is a folder, not a file.")
