"""Migration of a database to this version, for `python -m service migrate`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from service.errors import ServiceError, StorageUnavailable
from service.settings import SettingsError
from service.store.connections.engines import open_engines
from service.store.connections.failures import DRIVER_ERRORS, translate_error
from service.store.connections.row_security import set_access
from service.store.connections.urls import Address, Dialect, parse_url
from service.store.revisions import FOLDER, describe_mismatch, list_revisions, read_applied_revision
from service.store.scope import ALL_OWNERS

_ADVISORY_LOCK = 7_203_114_557  # arbitrary; must be unique in the database
_TIMEOUTS_S: Mapping[Dialect, float] = {
    "sqlite": 30.0,  # to wait for another process that migrates
    "postgresql": 3_600.0,  # the same, or to build an index of a large table
}


async def migrate(url: str, down_to: str | None = None) -> list[str]:
    """Migrate the database to this version, or back to `down_to` ("base": without tables).

    Return the migrations that were applied or reverted, in order; an empty list if there were
    none. Waits for another process that migrates the same database.
    Raises SettingsError, and StorageUnavailable if the database cannot be used.
    """
    if down_to not in (None, "base", *list_revisions()):
        raise SettingsError(
            f"There is no migration {down_to}; there are {', '.join(list_revisions())}."
        )
    address = parse_url(url)
    if address.dialect == "sqlite":
        _prepare_folder(address.path)
    engines = open_engines(address, _TIMEOUTS_S[address.dialect], may_create=True)
    try:
        with _explained_errors(address):
            return await _migrate_on(engines.writing, down_to)
    finally:
        await engines.writing.dispose()


async def check(url: str, timeout_s: float = 4.0) -> str | None:
    """Return why the database's tables cannot be used, None if they can.

    Raises SettingsError, and StorageUnavailable if the database cannot be reached.
    """
    address = parse_url(url)
    if address.dialect == "sqlite":
        _require_no_folder(address.path)
        if not address.path.exists():
            return describe_mismatch(None)
    engines = open_engines(address, timeout_s)
    try:
        with _explained_errors(address):
            async with engines.reading.connect() as connection:
                return describe_mismatch(await read_applied_revision(connection))
    finally:
        await engines.reading.dispose()


async def _migrate_on(engine: AsyncEngine, down_to: str | None) -> list[str]:
    async with engine.begin() as connection:
        await set_access(connection, ALL_OWNERS)
        await _lock_migrations(connection)
        before = await read_applied_revision(connection)
        if before is not None and before not in list_revisions():
            raise StorageUnavailable(str(describe_mismatch(before)), reason="schema")
        if before == (down_to or list_revisions()[-1]):
            return []
        await connection.run_sync(_run_alembic, down_to)
        after = await read_applied_revision(connection)
    known = list_revisions()
    start, end = (known.index(each) + 1 if each else 0 for each in (before, after))
    return known[start:end] if end >= start else known[end:start][::-1]


async def _lock_migrations(connection: AsyncConnection) -> None:
    # On SQLite the transaction is the lock.
    if connection.dialect.name == "postgresql":
        await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_ADVISORY_LOCK)))


def _run_alembic(connection: Connection, down_to: str | None) -> None:
    # Imported here: most starts find a database of this version, and save 50 ms of imports.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.attributes["connection"] = connection
    if down_to is None:
        command.upgrade(config, "head")
    else:
        command.downgrade(config, down_to)


@contextmanager
def _explained_errors(address: Address) -> Iterator[None]:
    """Raise errors of the driver as errors for the user, except bugs."""
    try:
        yield
    except DRIVER_ERRORS as error:
        explained = _explain(error, address)
        if explained is None:
            raise
        raise explained from error


def _explain(error: BaseException, address: Address) -> ServiceError | SettingsError | None:
    """Return the error for a database that cannot be used, None if `error` is a bug."""
    if address.dialect == "sqlite" and "not a database" in str(error):
        return SettingsError(f"DATABASE_URL: {address.path} is a file, but not a SQLite database.")
    return translate_error(error)


def _prepare_folder(path: Path) -> None:
    with suppress(OSError):  # the check below reports the problem
        path.parent.mkdir(parents=True, exist_ok=True)
    _require_no_folder(path)
    if not path.parent.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise SettingsError(f"DATABASE_URL: {path} cannot be written to.")


def _require_no_folder(path: Path) -> None:
    if path.is_dir():
        raise SettingsError(f"DATABASE_URL: {path} is a folder, not a file.")
