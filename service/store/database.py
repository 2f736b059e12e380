"""Transactions on the database, with a time limit and errors that state why it is unavailable."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from sqlalchemy import Executable, Row, UpdateBase
from sqlalchemy.ext.asyncio import AsyncConnection

from service.errors import StorageUnavailable
from service.store.connections.engines import Purpose, open_engines
from service.store.connections.failures import (
    DRIVER_ERRORS,
    FailureLog,
    is_retryable,
    make_unavailable,
    translate_error,
)
from service.store.connections.row_security import set_access
from service.store.connections.sqlite import truncate_log
from service.store.connections.urls import Dialect, parse_url
from service.store.revisions import describe_mismatch, read_applied_revision
from service.store.scope import Access
from service.store.waiting import WaitingCaller, wait_within
from telemetry import StoreOperation, Telemetry, TelemetryConfig, Workflow
from telemetry.spans.store import StoreOperationName

_HEAVY_READERS = 2  # half of the connections for reading

T = TypeVar("T")
Work = Callable[[AsyncConnection], Awaitable[T]]


@dataclass(frozen=True, slots=True)
class _Transaction(Generic[T]):
    """The work of one transaction, and the caller that waits for it."""

    purpose: Purpose
    work: Work[T]
    access: Access
    caller: WaitingCaller = field(default_factory=WaitingCaller)


_log = logging.getLogger(__name__)


class Database:
    """The connections of this process to one database.

    `timeout_s` limits how long a caller waits; the transaction of a refused caller is undone. Time
    in which the event loop is late is not counted (see `waiting`). A transaction is repeated once
    after a deadlock or a lost connection. It sees rows of owners only with an `access`.
    """

    def __init__(
        self, url: str, *, timeout_s: float = 4.0, telemetry: Telemetry | None = None
    ) -> None:
        self._telemetry = telemetry or Telemetry(TelemetryConfig())
        self._engines = open_engines(parse_url(url), timeout_s)
        self._timeout_s = timeout_s
        self._tasks: set[asyncio.Task[Any]] = set()
        self._is_schema_current = False
        self._failures = FailureLog()
        self._heavy = asyncio.Semaphore(_HEAVY_READERS)

    @property
    def dialect(self) -> Dialect:
        return self._engines.dialect

    def operation(self, name: StoreOperationName, parent: Workflow | None = None) -> StoreOperation:
        """Start to measure an operation, as a child span of `parent` or of the current request."""
        return self._telemetry.start_store_operation(name, system=self.dialect, parent=parent)

    async def read(
        self, work: Work[T], operation: StoreOperationName = "read_run", access: Access = None
    ) -> T:
        """Return the result of `work`, which reads one snapshot of the database.

        Raises StorageUnavailable.
        """
        with self.operation(operation):
            return await self._run(_Transaction("reading", work, access))

    async def read_heavy(
        self, work: Work[T], operation: StoreOperationName, access: Access = None
    ) -> T:
        """Return the result of `work`, which takes long, as `read` does.

        At most two run at the same time, so that other readers find a connection. The work is
        stopped, also in the database, when its caller is cancelled or the time limit has passed.
        Raises StorageUnavailable.
        """

        async def wait_and_run() -> T:
            async with self._heavy:
                return await self._run_with_retry(transaction)

        transaction = _Transaction("reading", work, access)
        with self.operation(operation):
            task = self._start(wait_and_run())
            try:
                return await self._wait(task, transaction)
            finally:
                task.cancel()

    async def write(
        self, work: Work[T], operation: StoreOperationName = "maintain", access: Access = None
    ) -> T:
        """Return the result of `work` after its changes were committed, all of them or none.

        Raises StorageUnavailable; when its reason is "slow", the changes are only committed if the
        time limit passed during the commit itself.
        """
        with self.operation(operation):
            return await self._run(_Transaction("writing", work, access))

    async def fetch_all(
        self,
        statement: Executable,
        operation: StoreOperationName = "read_run",
        access: Access = None,
    ) -> Sequence[Row[Any]]:
        """Return the rows of one query. Raises StorageUnavailable."""

        async def work(connection: AsyncConnection) -> Sequence[Row[Any]]:
            return (await connection.execute(statement)).all()

        return await self.read(work, operation, access)

    async def execute(
        self,
        statement: UpdateBase,
        operation: StoreOperationName = "maintain",
        access: Access = None,
    ) -> int:
        """Commit one change and return its number of rows. Raises StorageUnavailable as `write`."""

        async def work(connection: AsyncConnection) -> int:
            return (await connection.execute(statement)).rowcount

        return await self.write(work, operation, access)

    async def checkpoint(self) -> None:
        """Empty SQLite's write-ahead log, so that deleted rows are in neither of its files.

        Best effort: the part of the log that a reader uses remains. Does nothing on PostgreSQL.
        """
        if self.dialect == "sqlite":
            await self.write(truncate_log)

    async def close(self) -> None:
        """Wait for running transactions, within the time limit, and disconnect."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=self._timeout_s)
            for task in late:
                task.cancel()
        await self._engines.close(self._timeout_s)

    async def _run(self, transaction: _Transaction[T]) -> T:
        task = self._start(self._run_with_retry(transaction))
        return await self._wait(task, transaction)

    def _start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        # In a task: a cancelled caller would leave asyncpg's connection in the middle of a command.
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._on_done)
        return task

    async def _wait(self, task: asyncio.Task[T], transaction: _Transaction[T]) -> T:
        if not await wait_within(task, self._timeout_s):
            transaction.caller.is_refused = True
            refusal = make_unavailable("slow")
            self._failures.report(transaction.purpose, refusal)
            raise refusal
        return task.result()

    def _on_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        # Retrieve the error here, since the caller may have left.
        error = None if task.cancelled() else task.exception()
        if error is not None:
            _log.debug("a transaction failed", exc_info=error)

    async def _run_with_retry(self, transaction: _Transaction[T]) -> T:
        purpose = transaction.purpose
        try:
            try:
                result = await self._execute(transaction)
            except DRIVER_ERRORS as error:
                if not is_retryable(error):
                    raise
                result = await self._execute(transaction)
        except DRIVER_ERRORS as error:
            refusal = translate_error(error)
            if refusal is None:
                raise
            self._failures.report(purpose, refusal, error)
            raise refusal from error
        self._failures.report(purpose, None)
        return result

    async def _execute(self, transaction: _Transaction[T]) -> T:
        engine, caller = self._engines.of(transaction.purpose), transaction.caller
        self._check(caller)
        connection = await engine.connect()
        try:
            self._check(caller)
            await set_access(connection, transaction.access)
            await connection.begin()
            await self._check_schema(connection)
            result = await transaction.work(connection)
            self._check(caller)
            await connection.commit()
            if transaction.purpose == "writing" and self._engines.file:
                self._engines.file.note_written()
        except (OSError, asyncio.CancelledError):
            # Interrupted within a command: the connection's next reply would belong to this one.
            await connection.invalidate()
            raise
        finally:
            await connection.close()
        return result

    def find_file_fault(self) -> StorageUnavailable | None:
        """Return the error for a SQLite file that is not the opened one any more."""
        return self._engines.file.find_fault() if self._engines.file else None

    def _check(self, caller: WaitingCaller) -> None:
        """Raise StorageUnavailable if the caller was refused or the file is another one."""
        if caller.is_refused:
            raise make_unavailable("slow")
        if fault := self.find_file_fault():
            raise fault

    async def _check_schema(self, connection: AsyncConnection) -> None:
        """Raise StorageUnavailable unless the schema is this version's; checked until it is."""
        if self._is_schema_current:
            return
        sentence = describe_mismatch(await read_applied_revision(connection))
        if sentence is not None:
            raise StorageUnavailable(sentence, reason="schema")
        self._is_schema_current = True
