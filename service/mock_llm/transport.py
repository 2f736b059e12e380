"""The mock LLM: OpenAI's REST API in process, below the real HTTP client.

MockLLM is the server without a network: it routes and counts requests, and decides which get a
fault. MockTransport plays its plans to httpx; `server.py` plays them on a socket.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from random import Random
from uuid import uuid4

import httpx
from msgspec.structs import replace

from service.mock_llm.plan import plan_call
from service.mock_llm.reply import MockCall, TokenPace
from service.mock_llm.request import BadRequestError, MockRequest, parse_request
from service.mock_llm.script import Script, parse_script
from service.mock_llm.wire import End, Plan, error_plan, json_plan

_MODELS_CREATED = 1_700_000_000


class ModelServer(ABC):
    """A model server without a network.

    `requests` counts all requests, `open_streams` the responses that have not ended,
    `closed_early` those that the client closed.
    """

    def __init__(self) -> None:
        self.requests = 0
        self.open_streams = 0
        self.closed_early = 0

    @abstractmethod
    def respond(self, method: str, path: str, body: bytes) -> Plan:
        """Return the plan of the response to a request; `path` excludes the query."""

    def record_start(self) -> None:
        """Count the start of a response."""
        self.open_streams += 1

    def record_end(self, *, early: bool) -> None:
        """Count the end of a response; `early` if the client closed it."""
        self.open_streams -= 1
        self.closed_early += early


class MockLLM(ModelServer):
    """A model server that needs no key. A request can override `seed` and `pace`."""

    def __init__(
        self,
        *,
        seed: int = 0,
        pace: TokenPace | None = None,
        models: Sequence[str] = ("gpt-4o-mini", "gpt-4o"),
    ) -> None:
        super().__init__()
        self._seed = seed
        self._pace = pace or TokenPace()
        self._models = tuple(models)
        self._questions: Counter[tuple[str, str]] = Counter()

    def respond(self, method: str, path: str, body: bytes) -> Plan:
        """Return the plan of the response to a request; `path` excludes the query."""
        self.requests += 1
        answer: Callable[[bytes], Plan]
        if path.endswith("/chat/completions"):
            allowed, answer = "POST", self._chat
        elif path.endswith("/models"):
            allowed, answer = "GET", self._list_models
        else:
            return error_plan(404, f"Invalid URL ({method} {path}).")
        if method != allowed:
            sentence = f"Not allowed to {method} on {path}; use {allowed}."
            return error_plan(405, sentence, ("allow", allowed))
        try:
            return answer(body)
        except BadRequestError as error:
            return error_plan(400, error.message, param=error.param)

    def _chat(self, body: bytes) -> Plan:
        request = parse_request(body)
        script = parse_script(request.model)
        if script.fault and not self._fault_hits(request, script):
            script = replace(script, fault=None)
        seeds = (script.seed, request.seed, self._seed)
        call = MockCall(
            request=request,
            script=script,
            prompt=request.prompt(next(seed for seed in seeds if seed is not None)),
            pace=self._pace,
            id=f"chatcmpl-{uuid4().hex}",
            created=int(time.time()),
            seed=self._seed,
        )
        return plan_call(call)

    def _fault_hits(self, request: MockRequest, script: Script) -> bool:
        """Return whether this request gets the fault; `times` counts repeated questions."""
        if script.times is None and script.rate == 1.0:
            return True
        key = request.model, request.question
        self._questions[key] += 1
        number = self._questions[key]
        if script.times is not None and number > script.times:
            return False
        seed = script.seed if script.seed is not None else self._seed
        return Random(f"{seed} {number} {key}").random() < script.rate  # noqa: S311

    def _list_models(self, _: bytes) -> Plan:
        models = [
            {"id": name, "object": "model", "created": _MODELS_CREATED, "owned_by": "mock"}
            for name in self._models
        ]
        return json_plan(200, {"object": "list", "data": models})


class MockTransport(httpx.AsyncBaseTransport):
    """Plays a model server to an `httpx.AsyncClient`. Timeouts of httpx are not honoured."""

    def __init__(self, mock: ModelServer | None = None) -> None:
        self.mock = mock or MockLLM()

    @property
    def requests(self) -> int:
        """The number of requests."""
        return self.mock.requests

    @property
    def open_streams(self) -> int:
        """The number of responses that have neither ended nor been closed."""
        return self.mock.open_streams

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Return the response at the time when its headers are due.

        Raises httpx.ConnectError when the script refuses the connection.
        """
        plan = self.mock.respond(request.method, request.url.path, await request.aread())
        if plan.status is None and plan.end is End.RESET:
            raise httpx.ConnectError(
                "The mock refused the connection, as scripted.", request=request
            )
        stream = _PlayedStream(plan, self.mock, request)
        try:
            if plan.status is None:
                await asyncio.Event().wait()
            await asyncio.sleep(plan.wait_s)
        except asyncio.CancelledError:
            await stream.aclose()
            raise
        return httpx.Response(plan.status or 500, headers=plan.headers, stream=stream)


class _PlayedStream(httpx.AsyncByteStream):
    """The body of a plan, with its delays; closing it before its end counts as closed early."""

    def __init__(self, plan: Plan, mock: ModelServer, request: httpx.Request) -> None:
        self._plan = plan
        self._mock = mock
        self._request = request
        self._ended = False
        self._closed = False
        mock.record_start()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        due = loop.time()
        left = len(self._plan.steps)
        for step in self._plan.steps:
            due += step.delay_s
            await asyncio.sleep(max(0.0, due - loop.time()))
            left -= 1
            # Before the yield: a client may stop reading after [DONE], which is no early close.
            self._ended = left == 0 and self._plan.end is End.CLEAN
            yield step.data
        if self._plan.end is End.HANG:
            await asyncio.Event().wait()
        self._ended = True
        if self._plan.end is End.RESET:
            raise httpx.ReadError(
                "The mock reset the connection, as scripted.", request=self._request
            )

    async def aclose(self) -> None:
        if not self._closed:
            self._closed = True
            self._mock.record_end(early=not self._ended)
