"""Transactions on the database, with a time limit and errors that state why it is unavailable."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from sqlalchemy import Executable, Row, UpdateBase
from sqlalchemy.ext.asyncio import AsyncConnection

from service.errors import StorageUnavailable
from service.store.connections.engines import open_engines
from service.store.connections.execution import (
    SteadyWork,
    TransactionCall,
    TransactionExecutor,
    Work,
)
from service.store.connections.failures import (
    DRIVER_ERRORS,
    FailureLog,
    is_retryable,
    make_unavailable,
    translate_error,
)
from service.store.connections.sqlite import truncate_log
from service.store.connections.transaction import Transaction
from service.store.connections.urls import Dialect, parse_url
from service.store.scope import Access
from service.store.waiting import wait_within
from telemetry import StoreOperation, Telemetry, TelemetryConfig, Workflow
from telemetry.spans.store import StoreOperationName

_HEAVY_READERS = 2  # half of the connections for reading

T = TypeVar("T")

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
        self._executor = TransactionExecutor(self._engines)
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
            return await self._run(TransactionCall("reading", work, access))

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
                return await self._run_with_retry(call)

        call = TransactionCall("reading", work, access)
        with self.operation(operation):
            task = self._start(wait_and_run())
            try:
                return await self._wait(task, call)
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
            return await self._run(TransactionCall("writing", work, access))

    async def transact(
        self,
        work: Callable[[Transaction], T],
        operation: StoreOperationName = "maintain",
        access: Access = None,
    ) -> T:
        """Return the result of `work` after its changes were committed, as `write` does.

        `work` waits for nothing but its statements: on SQLite it is done in another thread.
        """
        with self.operation(operation):
            return await self._run(TransactionCall("writing", SteadyWork(work), access))

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

    async def _run(self, call: TransactionCall[T]) -> T:
        task = self._start(self._run_with_retry(call))
        return await self._wait(task, call)

    def _start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        # In a task: a cancelled caller would leave asyncpg's connection in the middle of a command.
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._on_done)
        return task

    async def _wait(self, task: asyncio.Task[T], call: TransactionCall[T]) -> T:
        if not await wait_within(task, self._timeout_s):
            call.caller.is_refused = True
            refusal = make_unavailable("slow")
            self._failures.report(call.purpose, refusal)
            raise refusal
        return task.result()

    def _on_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        # Retrieve the error here, since the caller may have left.
        error = None if task.cancelled() else task.exception()
        if error is not None:
            _log.debug("a transaction failed", exc_info=error)

    async def _run_with_retry(self, call: TransactionCall[T]) -> T:
        purpose = call.purpose
        try:
            try:
                result = await self._executor.execute(call)
            except DRIVER_ERRORS as error:
                if not is_retryable(error):
                    raise
                result = await self._executor.execute(call)
        except DRIVER_ERRORS as error:
            refusal = translate_error(error)
            if refusal is None:
                raise
            self._failures.report(purpose, refusal, error)
            raise refusal from error
        self._failures.report(purpose, None)
        return result

    def find_file_fault(self) -> StorageUnavailable | None:
        """Return the error for a SQLite file that is not the opened one any more."""
        return self._executor.find_file_fault()
