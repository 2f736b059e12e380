"""Work on the database: one transaction each, a time limit, and errors that mean "not now"."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from service.errors import StorageUnavailable
from service.store.connections.engines import open_engines
from service.store.connections.failures import (
    DRIVER_ERRORS,
    is_retryable,
    make_unavailable,
    translate_error,
)
from service.store.connections.urls import Dialect, parse_url
from service.store.revisions import describe_mismatch, read_applied_revision
from service.store.waiting import wait_within
from telemetry import StoreOperation, Telemetry, TelemetryConfig, Workflow
from telemetry.spans.store import StoreOperationName

_CHECKPOINT_WAITS_MS = 200

T = TypeVar("T")
Work = Callable[[AsyncConnection], Awaitable[T]]

_log = logging.getLogger(__name__)


class Database:
    """One database, from one process. `timeout_s` bounds what a caller waits, not the work.

    Work may be begun a second time, after a deadlock or on a connection that turned out dead.
    """

    def __init__(
        self, url: str, *, timeout_s: float = 4.0, telemetry: Telemetry | None = None
    ) -> None:
        self._telemetry = telemetry or Telemetry(TelemetryConfig())
        self._engines = open_engines(parse_url(url), timeout_s)
        self._timeout_s = timeout_s
        self._tasks: set[asyncio.Task[Any]] = set()
        self._schema_is_known = False
        self._in_trouble: set[AsyncEngine] = set()

    @property
    def dialect(self) -> Dialect:
        return self._engines.dialect

    def operation(self, name: StoreOperationName, parent: Workflow | None = None) -> StoreOperation:
        """Start to measure something; its span is below `parent`, else the current request's."""
        return self._telemetry.start_store_operation(name, system=self.dialect, parent=parent)

    async def read(self, work: Work[T], operation: StoreOperationName = "read_run") -> T:
        """Return what `work` returns; all that it sees is of one moment.

        Raises StorageUnavailable.
        """
        with self.operation(operation):
            return await self._run(self._engines.reading, work)

    async def write(self, work: Work[T], operation: StoreOperationName = "maintain") -> T:
        """Return what `work` returns once its changes are committed, all of them or none.

        Raises StorageUnavailable; after one for slowness the changes may still be made.
        """
        with self.operation(operation):
            return await self._run(self._engines.writing, work)

    async def checkpoint(self) -> None:
        """Empty SQLite's log into its file, so that what was deleted is gone from both.

        Best effort: a reader that is still at work keeps its part of the log. Nothing on
        PostgreSQL.
        """
        if self.dialect == "sqlite":
            await self.write(_truncate_log)

    async def close(self) -> None:
        """Let what is under way end, for as long as anybody would have waited, and disconnect."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=self._timeout_s)
            for task in late:
                task.cancel()
        await self._engines.close(self._timeout_s)

    async def _run(self, engine: AsyncEngine, work: Work[T]) -> T:
        # A task of its own: a cancelled caller would leave asyncpg's connection half-way.
        task = asyncio.create_task(self._repeat(engine, work))
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        if not await wait_within(task, self._timeout_s):
            refusal = make_unavailable("slow")
            self._note(engine, refusal)
            raise refusal
        return task.result()

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        # Looked at here, since the caller may be gone.
        error = None if task.cancelled() else task.exception()
        if error is not None:
            _log.debug("The database refused.", exc_info=error)

    async def _repeat(self, engine: AsyncEngine, work: Work[T]) -> T:
        try:
            try:
                result = await self._transaction(engine, work)
            except DRIVER_ERRORS as error:
                if not is_retryable(error):
                    raise
                result = await self._transaction(engine, work)
        except DRIVER_ERRORS as error:
            refusal = translate_error(error)
            if refusal is None:
                raise
            self._note(engine, refusal, error)
            raise refusal from error
        self._note(engine, None)
        return result

    def _note(
        self,
        engine: AsyncEngine,
        refusal: StorageUnavailable | None,
        error: Exception | None = None,
    ) -> None:
        """Say in the log when trouble begins, with the driver's own words, and when it is over."""
        what = "writing" if engine is self._engines.writing else "reading"
        if refusal is None:
            if engine in self._in_trouble:
                self._in_trouble.discard(engine)
                _log.warning("%s works again", what)
        elif engine not in self._in_trouble:
            self._in_trouble.add(engine)
            cause = getattr(error, "orig", None) or error or "no answer"
            _log.warning("%s does not work: %s (%s)", what, refusal, cause)

    async def _transaction(self, engine: AsyncEngine, work: Work[T]) -> T:
        connection = await engine.connect()
        try:
            await connection.begin()
            await self._check_schema(connection)
            result = await work(connection)
            await connection.commit()
        except (OSError, asyncio.CancelledError):
            # A deadline passed in mid-exchange: nobody knows what the server answers next.
            await connection.invalidate()
            raise
        finally:
            await connection.close()
        return result

    async def _check_schema(self, connection: AsyncConnection) -> None:
        """Refuse work until the tables are as this version has them; then never look again."""
        if self._schema_is_known:
            return
        sentence = describe_mismatch(await read_applied_revision(connection))
        if sentence is not None:
            raise StorageUnavailable(sentence, reason="schema")
        self._schema_is_known = True


async def _truncate_log(connection: AsyncConnection) -> None:
    before = await connection.scalar(sa.text("PRAGMA busy_timeout"))
    await connection.commit()  # inside a transaction there is no checkpoint
    driver: Any = (await connection.get_raw_connection()).driver_connection
    # While it waits for readers, nobody writes.
    for pragma in (f"busy_timeout = {_CHECKPOINT_WAITS_MS}", "wal_checkpoint(TRUNCATE)"):
        await (await driver.execute(f"PRAGMA {pragma}")).close()
    await (await driver.execute(f"PRAGMA busy_timeout = {before}")).close()
