"""Drops a client that stopped reading. ASGI middleware.

A peer that keeps its connection open but reads nothing blocks `send` once the buffers are
full, for as long as it likes. After `timeout_s` in one send it is treated as gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
App = Callable[[Any, Receive, Send], Awaitable[None]]


class SendDeadline:
    """Wraps an ASGI app: a send that takes longer than `timeout_s` counts as a disconnect."""

    def __init__(self, app: App, timeout_s: float) -> None:
        self._app = app
        self._timeout_s = timeout_s

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        client = _Client(receive, send, self._timeout_s)
        try:
            await self._app(scope, client.receive, client.send)
        finally:
            client.close()


class _Client:
    def __init__(self, receive: Receive, send: Send, timeout_s: float) -> None:
        self._receive = receive
        self._send = send
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._sending_since: float | None = None
        self._gone: asyncio.Future[Any] = self._loop.create_future()
        self._timer = self._loop.call_later(timeout_s, self._look)

    async def send(self, message: Message) -> None:
        self._sending_since = self._loop.time()
        await self._send(message)
        self._sending_since = None

    async def receive(self) -> Any:
        """Return the next message, or a disconnect once a send has taken too long."""
        coming: asyncio.Future[Any] = asyncio.ensure_future(self._receive())
        try:
            await asyncio.wait({coming, self._gone}, return_when=asyncio.FIRST_COMPLETED)
            return coming.result() if coming.done() else {"type": "http.disconnect"}
        finally:
            coming.cancel()

    def close(self) -> None:
        self._timer.cancel()

    def _look(self) -> None:
        now = self._loop.time()
        due = (self._sending_since or now) + self._timeout_s
        if due <= now:
            self._gone.set_result(None)
        else:
            self._timer = self._loop.call_at(due, self._look)
