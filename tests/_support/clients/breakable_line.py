"""A TCP proxy with connections that a test can break."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class Line:
    """Passes connections on to the service at a port; `url` is its own address.

    `requests` is all that came over it, `responses` the latest 64 KB of the other direction.
    """

    def __init__(self, port: int) -> None:
        self.url = ""
        self.requests = b""
        self.responses = b""
        self.was_cut = False
        self._port = port
        self._cut_after: bytes | None = None
        self._carrying: set[asyncio.Task[None]] = set()
        self._passes = asyncio.Event()
        self._passes.set()

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def freeze(self) -> None:
        """Forward nothing more; connections stay open, as when a cable is pulled."""
        self._passes.clear()

    def thaw(self) -> None:
        """Forward again, also what was sent meanwhile."""
        self._passes.set()

    def cut(self, after: bytes) -> None:
        """Close the connection of the next response that contains `after`, directly after it."""
        self._cut_after = after

    async def end(self) -> None:
        """Close every connection."""
        for task in self._carrying:
            task.cancel()
        if self._carrying:
            await asyncio.wait(self._carrying)

    async def connected(self, client: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        """Forward one connection until either end closes it."""
        task = asyncio.current_task()
        assert task is not None
        self._carrying.add(task)
        task.add_done_callback(self._carrying.discard)
        service, question = await asyncio.open_connection("127.0.0.1", self._port)
        asking = asyncio.create_task(self._ask(client, question))
        try:
            with suppress(OSError, asyncio.CancelledError):  # `end`; asyncio would log the latter
                await self._answer(service, answer)
        finally:
            asking.cancel()
            await asyncio.wait([asking])
            question.transport.abort()
            answer.transport.abort()

    async def _ask(self, client: asyncio.StreamReader, question: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while block := await client.read(65536):
                self.requests += block
                await self._passes.wait()
                question.write(block)

    async def _answer(self, service: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        seen = b""
        while block := await service.read(65536):
            self.responses = (self.responses + block)[-65_536:]
            # Neither what came over the connection before, nor a response that is under way.
            seen = seen + block if self._cut_after else b""
            if self._cut_after and self._cut_after in seen and seen.startswith(b"HTTP/"):
                self._cut_after, self.was_cut = None, True
                await self._drop(block, answer)
                return
            await self._passes.wait()
            answer.write(block)
            await answer.drain()

    async def _drop(self, block: bytes, answer: asyncio.StreamWriter) -> None:
        """Let half a block through, and no more; a reset would take it back from who is slow."""
        answer.write(block[: len(block) // 2])
        answer.close()
        await answer.wait_closed()


@asynccontextmanager
async def line_to(port: int) -> AsyncIterator[Line]:
    """Carry connections while the block lasts."""
    line = Line(port)
    server = await asyncio.start_server(line.connected, "127.0.0.1", 0)
    line.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield line
    finally:
        server.close()
        await line.end()
