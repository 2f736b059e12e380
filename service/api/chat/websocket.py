"""Face B on a WebSocket, `GET /chat`: requests in, one after the other; each answer as tokens."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from contextlib import suppress
from typing import Any, Literal

from pydantic import ConfigDict
from quart import Quart, websocket
from quart.asgi import ASGIWebsocketConnection

from service.api.chat.chat import ChatRequest
from service.api.dependencies import ApiDependencies
from service.api.http.body import Body, fitted
from service.api.http.degraded import degraded_fields
from service.api.http.principal import Principal, current_principal
from service.api.middleware.send_timeout import StalledClientError
from service.errors import RequestError, ServiceError
from service.events import AnswerDelta, Event, RunFailed, RunFinished
from service.runs.log import Silence
from service.runs.run import Run
from service.runs.runs import Runs

_log = logging.getLogger(__name__)

_MOST_WAITING = 8
# Source: https://www.iana.org/assignments/websocket/websocket.xhtml
_INTERNAL_ERROR = 1011
_SERVICE_RESTART = 1012


class Cancel(Body):
    """What stops the current answer."""

    model_config = ConfigDict(extra="ignore")

    type: Literal["cancel"]


class BoundedConnection(ASGIWebsocketConnection):
    """Quart's, but for its queue: that has no bound, so that a client could fill the memory."""

    def __init__(self, app: Quart, scope: object) -> None:
        super().__init__(app, scope)  # type: ignore[arg-type]  # Hypercorn's own type
        self.queue = asyncio.Queue(1)


def install(app: Quart, api: ApiDependencies) -> None:
    """Add the WebSocket `/chat` to `app`."""
    runs = api.runs
    app.asgi_websocket_class = BoundedConnection

    @app.websocket("/chat")
    async def talk() -> None:
        headers = websocket.headers
        if not api.origins.allow(headers.get("Origin"), headers.get("Host")):
            raise RequestError(
                "origin_not_allowed", "Pages of that origin may not open a socket here."
            )
        if runs.draining:
            raise RequestError(
                "draining", "The service is shutting down.", headers={"Retry-After": "5"}
            )
        await websocket.accept()
        try:
            with api.sockets.register() as closing, suppress(StalledClientError):
                await _Talk(runs, current_principal()).go_on(closing)
                await websocket.close(_SERVICE_RESTART, "The service is shutting down.")
        except Exception:  # noqa: BLE001  # Quart would say goodbye as if nothing were
            _log.exception("a socket failed for a reason that is a bug")
            await websocket.close(_INTERNAL_ERROR, "The service failed; this has been logged.")


class _Talk:
    """What goes on on one socket: one task hears the client, another answers it."""

    def __init__(self, runs: Runs, principal: Principal) -> None:
        self._runs = runs
        self._principal = principal
        self._asked: deque[ChatRequest] = deque()  # the first is the one being answered
        self._wakes = asyncio.Event()
        self._run: Run | None = None
        self._is_cancelled = False
        self._sends = asyncio.Lock()  # the deadline of sends knows one at a time

    async def go_on(self, closing: asyncio.Future[None]) -> None:
        """Hear and answer until `closing` is done. A client that leaves cancels this."""
        tasks = [asyncio.create_task(self._hear()), asyncio.create_task(self._answer_all())]
        try:
            done, _ = await asyncio.wait([closing, *tasks], return_when=asyncio.FIRST_COMPLETED)
            for ended in done:
                ended.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _hear(self) -> None:
        while True:
            data = await websocket.receive()
            try:
                await self._take(data)
            except ServiceError as error:
                await self._send(error=error.message)

    async def _take(self, data: str | bytes) -> None:
        """Do what one message says. Raises RequestError, and StorageUnavailable."""
        try:
            asked = fitted(ChatRequest, data or "")
        except RequestError:
            if not _is_cancel(data):
                raise
            await self._cancel()
            return
        if len(self._asked) > _MOST_WAITING:
            raise RequestError("too_many_waiting", "Too many requests wait on this socket.")
        self._asked.append(asked)
        self._wakes.set()

    async def _cancel(self) -> None:
        """Stop the current answer, also one that is only about to begin."""
        if self._asked:
            self._is_cancelled = True
            if self._run:
                await self._runs.cancel(self._run)

    async def _answer_all(self) -> None:
        while True:
            while not self._asked:
                self._wakes.clear()
                await self._wakes.wait()
            try:
                await self._answer(self._asked[0])
            except ServiceError as error:
                await self._send(error=error.message)
            self._asked.popleft()
            self._run, self._is_cancelled = None, False

    async def _answer(self, asked: ChatRequest) -> None:
        run = self._run = await self._runs.start(asked.to_request(self._principal))
        with self._runs.reading(run) as reader:
            if self._is_cancelled:
                await self._runs.cancel(run)
            while (events := await reader.take()) is not Silence.END:
                if events is not Silence.KEEP_ALIVE:
                    for event in events:
                        await self._show(event)

    async def _show(self, event: Event) -> None:
        if isinstance(event, AnswerDelta) and event.text:
            await self._send(token=event.text)
        elif isinstance(event, RunFinished):
            await self._send(done="true", **degraded_fields(event))
        elif isinstance(event, RunFailed):
            await self._send(error=event.message)

    async def _send(self, **message: Any) -> None:
        async with self._sends:
            await websocket.send(json.dumps(message))


def _is_cancel(data: str | bytes) -> bool:
    try:
        fitted(Cancel, data or "")
    except RequestError:
        return False
    return True
