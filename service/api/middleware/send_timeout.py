"""Send timeout: end the response of a client that stopped reading. ASGI middleware.

A client that leaves its connection open but reads nothing blocks `send` without limit once the
buffers are full. A send that takes longer than the timeout ends the response.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from service.errors import drop_tracebacks

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
App = Callable[[Any, Receive, Send], Awaitable[None]]

_log = logging.getLogger(__name__)


class StalledClientError(Exception):
    """The client has not read for longer than the send timeout."""


class SendTimeout:
    """Wraps an ASGI app: a send that takes longer than `timeout_s` ends the request or socket."""

    def __init__(self, app: App, timeout_s: float) -> None:
        self._app = app
        self._timeout_s = timeout_s

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        sender = _Sender(send, self._timeout_s)
        try:
            await self._app(scope, receive, sender.send)
        except StalledClientError as error:
            drop_tracebacks(error)  # among the frames is Quart's, which refers to the task
            _log.info("closing the connection of a client that stopped reading")
        finally:
            sender.close()


class _Sender:
    """Limits the duration of each send with one timer per response.

    The timer checks the current send when it fires, so that a send costs no timer operation. Sends
    must not overlap.
    """

    def __init__(self, send: Send, timeout_s: float) -> None:
        self._send = send
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._since: float | None = None
        self._sending: asyncio.Task[Any] | None = None
        self._stalled = False
        self._timer = self._loop.call_later(timeout_s, self._check)

    async def send(self, message: Any) -> None:
        self._sending, self._since = asyncio.current_task(self._loop), self._loop.time()
        try:
            await self._send(message)
        except asyncio.CancelledError:
            if self._stalled and self._sending and not self._sending.uncancel():
                raise StalledClientError from None
            raise
        finally:
            # The task's error refers to the frames that refer to this.
            self._since = self._sending = None

    def close(self) -> None:
        self._timer.cancel()

    def _check(self) -> None:
        now = self._loop.time()
        due = (self._since if self._since is not None else now) + self._timeout_s
        if due > now:
            self._timer = self._loop.call_at(due, self._check)
        elif self._sending:
            self._stalled = True
            self._send = _refuse  # later messages of the app, such as a closing one
            self._sending.cancel()


async def _refuse(_message: Any) -> None:
    raise StalledClientError
