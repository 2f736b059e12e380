"""Waiting until the services of a database have observed a silence for long enough."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

from service.store.database import Database
from service.store.workers import Workers
from tests._support.clients.api import until
from tests._support.servers.processes import Process

LEASE_S = 3.0  # others take a worker over after 4 s
QUICK_LEASE = {"LEASE_S": str(LEASE_S)}


@asynccontextmanager
async def silence_is_noticed(database_url: str, lease_s: float = LEASE_S) -> AsyncIterator[None]:
    """After the block, wait until a worker without heartbeats was deregistered.

    The worker, with a lease of `lease_s`, is registered before the block. A service that was silent
    for the whole time has then been silent for long enough, too.
    """
    database = Database(database_url, timeout_s=60)
    workers = Workers(database)
    await workers.register("worker_silent", lease_s)

    async def is_deregistered() -> bool:
        beats = await workers.list_beats(except_for="")
        return "worker_silent" not in [each.worker_id for each in beats]

    try:
        yield
        await until(is_deregistered)
    finally:
        await database.close()


async def stop_outside_of_transactions(process: Process, database_url: str) -> None:
    """Stop a process with SIGSTOP while others can write to its SQLite file."""
    process.signal(signal.SIGSTOP)
    while database_url.startswith("sqlite") and not await asyncio.to_thread(_is_free, database_url):
        process.signal(signal.SIGCONT)
        await asyncio.sleep(0.05)
        process.signal(signal.SIGSTOP)


def _is_free(database_url: str) -> bool:
    path = database_url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path, timeout=2, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
    return True
