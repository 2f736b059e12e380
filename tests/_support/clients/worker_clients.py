"""Clients of a service with several workers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from tests._support.clients.api import (
    Api,
    client_of,
    until,
)
from tests._support.servers.processes import Process


async def two_workers(service: Process) -> list[int]:
    """Return the pids of both workers, once there are two."""

    async def started() -> bool:
        return len(service.workers) == 2

    await until(started)
    return service.workers


CONNECTIONS = 12  # so many that no worker is left without one


@asynccontextmanager
async def everywhere(service: Process) -> AsyncIterator[list[Api]]:
    """Connect to every worker: each client keeps to its one connection."""
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(client_of(service.url)) for _ in range(CONNECTIONS)
        ]
        for api in clients:
            assert (await api.http.get("/health/live")).status_code == 200
        yield clients
