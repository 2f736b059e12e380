"""Clients of a service with several workers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from tests._support.clients.api import Api, client_of, until
from tests._support.servers.processes import Process

_PER_WORKER = 2
_ESTABLISHED = "01"  # Source: Linux, include/net/tcp_states.h


async def wait_for_two_workers(service: Process) -> list[int]:
    """Return the pids of both workers, once there are two."""

    async def started() -> bool:
        return len(service.workers) == 2

    await until(started)
    return service.workers


@asynccontextmanager
async def connect_to_each_worker(service: Process) -> AsyncIterator[list[Api]]:
    """Connect to both workers, twice to each; every client has a single connection.

    The kernel chooses the worker of a connection. On a busy machine one worker may accept many in
    a row, or not have started yet.
    """
    workers = await wait_for_two_workers(service)
    chosen: dict[int, list[Api]] = {pid: [] for pid in workers}
    async with AsyncExitStack() as stack:

        async def connect() -> bool:
            before = {pid: _connections(pid, service.port) for pid in workers}
            api = await stack.enter_async_context(client_of(service.url))
            assert (await api.http.get("/health/live")).status_code == 200
            for pid, known in before.items():
                is_its_own = _connections(pid, service.port) - known
                if is_its_own and len(chosen[pid]) < _PER_WORKER:
                    chosen[pid].append(api)
            return all(len(clients) == _PER_WORKER for clients in chosen.values())

        await until(connect)
        yield [api for clients in zip(*chosen.values(), strict=True) for api in clients]


def _connections(pid: int, port: int) -> set[str]:
    """Return the sockets of a process that are connected to its port `port`."""
    connected = set()
    tables = (Path(f"/proc/{pid}/net/{name}").read_text() for name in ("tcp", "tcp6"))
    for line in (line for table in tables for line in table.splitlines()[1:]):
        _, local, _, state, *_, inode = line.split()[:10]
        if int(local.rpartition(":")[2], 16) == port and state == _ESTABLISHED:
            connected.add(f"socket:[{inode}]")
    held = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            held.add(str(descriptor.readlink()))
        except OSError:  # closed meanwhile
            continue
    return connected & held
