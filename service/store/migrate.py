"""Brings a database's tables to this version: what `python -m service migrate` does."""

from __future__ import annotations

import os
from contextlib import suppress

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from service.errors import ServiceError, StorageUnavailable
from service.settings import SettingsError
from service.store.engines import open_engines
from service.store.failures import FOREIGN, unavailable
from service.store.revisions import FOLDER, applied_revision, fault, revisions
from service.store.urls import Address, parse_url

_LOCK = 7_203_114_557  # any number, as long as nobody else in the database uses it
_TIMEOUT_S = 3_600.0  # an index over a large table takes its time


async def migrate(url: str, down_to: str | None = None) -> list[str]:
    """Bring the database to this version, or back to `down_to` ("base": no tables at all).

    Returns the migrations that were applied or taken back, in that order; none when there was
    nothing to do. Another process that does the same is waited for.
    Raises SettingsError, and StorageUnavailable when the database cannot be used.
    """
    if down_to not in (None, "base", *revisions()):
        raise SettingsError(f"There is no migration {down_to}; there are {', '.join(revisions())}.")
    address = parse_url(url)
    _prepare_folder(address)
    engines = open_engines(address, _TIMEOUT_S)
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
    if address.dialect == "sqlite" and not address.path.exists():
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
    """Return what to say of a database that could not be opened, None when `error` is a bug."""
    path = address.path
    if address.dialect == "sqlite":
        if path.is_dir():
            return SettingsError(f"DATABASE_URL: {path} is a folder, not a file.")
        if "not a database" in str(error):
            return SettingsError(f"DATABASE_URL: {path} is a file, but not a SQLite database.")
        folder = path.parent
        if not folder.is_dir() or not os.access(path if path.exists() else folder, os.W_OK):
            return SettingsError(f"DATABASE_URL: {path} cannot be written to.")
    return unavailable(error)


def _prepare_folder(address: Address) -> None:
    if address.dialect != "sqlite":
        return
    with suppress(OSError):  # if this fails, opening the file says why
        address.path.parent.mkdir(parents=True, exist_ok=True)
