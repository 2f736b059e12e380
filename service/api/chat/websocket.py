"""The WebSocket at `GET /chat`: requests in, answered one after the other, as tokens."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from typing import Any, Literal

from pydantic import ConfigDict
from quart import Quart, websocket
from quart.asgi import ASGIWebsocketConnection

from service.api.chat.chat import ChatRequest
from service.api.dependencies import ApiDependencies
from service.api.http.body import Body, parse_body
from service.api.http.body_limits import turn_of
from service.api.http.degraded import answer_marks
from service.api.http.principal import (
    CLOSE_CODES,
    check_again,
    choose_subprotocol,
    needs_scope,
)
from service.api.limits.requests import RequestLimits
from service.api.middleware.send_timeout import StalledClientError
from service.errors import RequestError, ServiceError, drop_tracebacks
from service.events import AnswerDelta, Event, RunFailed, RunFinished
from service.runs.log import Silence
from service.runs.run import Run
from service.runs.runs import Runs

_log = logging.getLogger(__name__)

_MAX_WAITING = 8
# Source: https://www.iana.org/assignments/websocket/websocket.xhtml
_INTERNAL_ERROR = 1011
_SERVICE_RESTART = 1012


class Cancel(Body):
    """The message that stops the current answer."""

    model_config = ConfigDict(extra="ignore")

    type: Literal["cancel"]


class BoundedConnection(ASGIWebsocketConnection):
    """Quart's connection with a bounded queue: with Quart's own a client can fill the memory."""

    def __init__(self, app: Quart, scope: object) -> None:
        super().__init__(app, scope)  # type: ignore[arg-type]  # Hypercorn's own type
        self.queue = asyncio.Queue(1)


def install(app: Quart, api: ApiDependencies) -> None:
    """Add the WebSocket `/chat` to `app`."""
    runs, limits = api.runs, RequestLimits(api)
    app.asgi_websocket_class = BoundedConnection

    @app.websocket("/chat")
    @needs_scope("run")
    async def serve() -> None:
        runs.check_accepting()
        await websocket.accept(subprotocol=choose_subprotocol())
        try:
            with api.sockets.register() as closing:
                await websocket.close(*await _Dialogue(runs, limits).serve(closing))
        except StalledClientError as error:
            drop_tracebacks(error)  # their frames refer to the task that raised it
        except Exception as error:  # noqa: BLE001  # Quart would close as if nothing had failed
            _log.exception("unexpected error on a WebSocket")
            drop_tracebacks(error)
            await websocket.close(_INTERNAL_ERROR, "The service failed; this has been logged.")


class _Dialogue:
    """The exchange on one socket: one task receives requests, another one answers them."""

    def __init__(self, runs: Runs, limits: RequestLimits) -> None:
        self._runs = runs
        self._limits = limits
        self._requests: deque[ChatRequest] = deque()  # the first one is being answered
        self._has_requests = asyncio.Event()
        self._run: Run | None = None
        self._is_cancelled = False
        self._end = _SERVICE_RESTART, "The service is shutting down."
        self._send_lock = asyncio.Lock()  # the send timeout permits one send at a time

    async def serve(self, closing: asyncio.Future[None]) -> tuple[int, str]:
        """Receive and answer until `closing` is done or the caller may not ask any more.

        Return the code and the reason of the close frame. A disconnect cancels this.
        """
        tasks = [asyncio.create_task(self._receive_all()), asyncio.create_task(self._answer_all())]
        try:
            await asyncio.wait([closing, *tasks], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        # Not before the wait: a cancellation there would leave the error with this frame.
        for result in results:
            if isinstance(result, Exception):
                raise result
        return self._end

    async def _receive_all(self) -> None:
        while True:
            data = await websocket.receive()
            try:
                await self._handle(data)
            except ServiceError as error:
                await self._send(error=error.message)

    async def _handle(self, data: str | bytes) -> None:
        """Queue a request or cancel the answer. Raises RequestError, StorageUnavailable."""
        try:
            async with turn_of(len(data or "")):
                request = parse_body(ChatRequest, data or "")
        except RequestError:
            if not _is_cancel(data):
                raise
            await self._cancel()
            return
        if len(self._requests) > _MAX_WAITING:
            raise RequestError("too_many_waiting", "Too many requests wait on this socket.")
        self._requests.append(request)
        self._has_requests.set()

    async def _cancel(self) -> None:
        """Stop the current answer, also before its run has started."""
        if self._requests:
            self._is_cancelled = True
            if self._run:
                await self._runs.cancel(self._run)

    async def _answer_all(self) -> None:
        while True:
            while not self._requests:
                self._has_requests.clear()
                await self._has_requests.wait()
            try:
                await self._answer(self._requests[0])
            except ServiceError as error:
                await self._send(error=error.message)
                if error.code in CLOSE_CODES:
                    self._end = CLOSE_CODES[error.code], error.message
                    return
            self._requests.popleft()
            self._run, self._is_cancelled = None, False

    async def _answer(self, request: ChatRequest) -> None:
        principal = await check_again()
        with self._limits.for_message(principal) as admission:
            question = request.to_request(principal)
            self._run = await self._runs.start(question, admit=admission.admit)
            await self._send_answer(self._run)

    async def _send_answer(self, run: Run) -> None:
        with self._runs.reading(run) as reader:
            if self._is_cancelled:
                await self._runs.cancel(run)
            while (events := await reader.take()) is not Silence.END:
                if events is not Silence.KEEP_ALIVE:
                    for event in events:
                        await self._send_event(event)

    async def _send_event(self, event: Event) -> None:
        if isinstance(event, AnswerDelta) and event.text:
            await self._send(token=event.text)
        elif isinstance(event, RunFinished):
            await self._send(done="true", **answer_marks(event))
        elif isinstance(event, RunFailed):
            await self._send(error=event.message)

    async def _send(self, **message: Any) -> None:
        async with self._send_lock:
            await websocket.send(json.dumps(message, ensure_ascii=False))


def _is_cancel(data: str | bytes) -> bool:
    try:
        parse_body(Cancel, data or "")
    except RequestError:
        return False
    return True
