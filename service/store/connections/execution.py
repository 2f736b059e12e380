"""Execution of one transaction: its connection, its checks, its commit."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection

from service.errors import StorageUnavailable
from service.store.connections.engines import Engines, Purpose
from service.store.connections.failures import make_unavailable
from service.store.connections.prepared import PreparedStatements
from service.store.connections.row_security import set_access
from service.store.connections.transaction import SqlAlchemyTransaction, Transaction, transact
from service.store.revisions import describe_mismatch, read_applied_revision
from service.store.scope import Access
from service.store.waiting import WaitingCaller

T = TypeVar("T")
Work = Callable[[AsyncConnection], Awaitable[T]]


@dataclass(frozen=True, slots=True)
class SteadyWork(Generic[T]):
    """Work that waits for nothing but its statements, so that one call of a thread can do it."""

    run: Callable[[Transaction], T]


@dataclass(frozen=True, slots=True)
class TransactionCall(Generic[T]):
    """The work of one transaction, and the caller that waits for it."""

    purpose: Purpose
    work: Work[T] | SteadyWork[T]
    access: Access
    caller: WaitingCaller = field(default_factory=WaitingCaller)


class TransactionExecutor:
    """Executes transactions on the connections of one database."""

    def __init__(self, engines: Engines) -> None:
        self._engines = engines
        self._is_schema_current = False
        self._statements = PreparedStatements(engines.writing.dialect)

    async def execute(self, call: TransactionCall[T]) -> T:
        """Return the result of a call's work after its commit.

        Raises StorageUnavailable when the caller was refused, or the file or schema is another.
        """
        engine, caller = self._engines.of(call.purpose), call.caller
        self._check(caller)
        connection = await engine.connect()
        try:
            self._check(caller)
            await set_access(connection, call.access)
            result = await self._work(connection, call)
            if call.purpose == "writing" and self._engines.file:
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

    async def _work(self, connection: AsyncConnection, call: TransactionCall[T]) -> T:
        if isinstance(call.work, SteadyWork) and self._engines.dialect == "sqlite":
            if not self._is_schema_current:
                await self._check_schema(connection)
                await connection.rollback()  # the thread begins a transaction of its own
            return await self._transact(connection, call.work, call.caller)
        await connection.begin()
        await self._check_schema(connection)
        if isinstance(call.work, SteadyWork):
            result = await connection.run_sync(partial(_run_steady, call.work))
        else:
            result = await call.work(connection)
        self._check(call.caller)
        await connection.commit()
        return result

    async def _transact(
        self, connection: AsyncConnection, work: SteadyWork[T], caller: WaitingCaller
    ) -> T:
        """Do the complete transaction in the thread of SQLite's connection."""
        driver: Any = (await connection.get_raw_connection()).driver_connection
        check = partial(self._check, caller)
        made: T = await driver.call(partial(transact, self._statements, work.run, check))
        return made

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


def _run_steady(work: SteadyWork[T], connection: Connection) -> T:
    return work.run(SqlAlchemyTransaction(connection))
