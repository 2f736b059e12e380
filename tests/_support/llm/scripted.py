"""Scripted models behind the real LLM client, and an event loop with a clock that skips waits.

Nothing is patched. The models' server is a transport of the real LLMClient; every fault is an
option in the model's name (`service/mock_llm/script.py`).
"""

from __future__ import annotations

import asyncio
import json
import selectors
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from contextvars import Context
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, ParamSpec, TypeVarTuple

import httpx

from service.coalescing import CoalescingWindow
from service.conversation import NewConversation
from service.domain import Message, ReasoningPiece, RunRequest, ToolCall
from service.ensembles.catalog import Agent, AgentDefaults, Catalog, parse_ensembles
from service.events import AnswerDelta, Event
from service.llm.client import LLMClient
from service.llm.protocol import Call
from service.llm.reply import Reply
from service.mock_llm.transport import MockLLM, MockTransport
from service.strategies import STRATEGIES
from telemetry import AgentOperation, Telemetry, TelemetryConfig

P = ParamSpec("P")
Ts = TypeVarTuple("Ts")

URL = "http://models.test/v1"
QUICK = {"first_ms": 1, "gap_ms": 1, "tokens": 4}


class _SkippingSelector(selectors.DefaultSelector):
    """Never waits for a timer, but advances the clock of the loop to it."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            ready = super().select(2.0)  # for threads; nothing else can wake the loop
            if not ready:
                raise RuntimeError("The test waits for an event that cannot happen.")
            return ready
        self.now += max(0.0, timeout)
        return super().select(0)


class SkippingLoop(asyncio.SelectorEventLoop):
    """An event loop that waits for no time: seconds are exact and tests are fast."""

    def __init__(self) -> None:
        self._skipping = _SkippingSelector()
        self.timers = 0
        super().__init__(self._skipping)

    def time(self) -> float:
        return self._skipping.now

    def skip(self, seconds: float) -> None:
        """Advance the clock."""
        self._skipping.now += seconds

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Wait for the threads without a time limit, which would pass immediately."""
        await super().shutdown_default_executor()

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        self.timers += 1
        return super().call_at(when, callback, *args, context=context)


def skipping(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run an async test on a SkippingLoop."""

    @wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with asyncio.Runner(loop_factory=SkippingLoop) as runner:
            runner.run(test(*args, **kwargs))

    return run


def now() -> float:
    return asyncio.get_running_loop().time()


def model(name: str = "model", **options: object) -> str:
    """Return a model's name with options for the mock; by default the model is fast."""
    return f"{name}?" + "&".join(f"{key}={value}" for key, value in {**QUICK, **options}.items())


def a_call(model_name: str = "", **changes: Any) -> Call:
    fields: dict[str, Any] = {
        "model": model_name or model(),
        "base_url": URL,
        "provider": "openai_compatible",
        "messages": [Message("user", "Why is the sky blue?")],
        "max_tokens": 100,
        "first_token_timeout_s": 5.0,
        "idle_timeout_s": 5.0,
        "timeout_s": 20.0,
    }
    return Call(**{**fields, **changes})


@dataclass
class Received:
    """The result of one call: its pieces as passed on, and its reply."""

    pieces: list[str] = field(default_factory=list)
    thoughts: list[ReasoningPiece] = field(default_factory=list)
    calls: list[ToolCall] = field(default_factory=list)
    reply: Reply = field(default_factory=Reply)

    async def on_text(self, piece: str | ToolCall | ReasoningPiece) -> None:
        if isinstance(piece, str):
            self.pieces.append(piece)
        elif isinstance(piece, ReasoningPiece):
            self.thoughts.append(piece)
        else:
            self.calls.append(piece)

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def reasoning(self) -> str:
        return "".join(each.text for each in self.thoughts)


def an_operation() -> AgentOperation:
    workflow = Telemetry(TelemetryConfig()).start_workflow(
        "test", run_id="run_1", conversation_id="conv_1", config_hash="", agents=[], parent=None
    )
    return workflow.start_agent("agent", "model")


async def call_model(
    transport: httpx.AsyncBaseTransport,
    call: Call,
    *,
    key_needed: bool = False,
    received: Received | None = None,
    coalescing: CoalescingWindow | None = None,
) -> Received:
    """Call a model with the real client and return the result."""
    received = received or Received()
    async with transport:
        client = LLMClient(transport, coalescing or CoalescingWindow(), key_needed=key_needed)
        await client.chat(call, received.reply, received.on_text, an_operation(), 1)
    return received


def mock(**options: Any) -> MockTransport:
    return MockTransport(MockLLM(**options))


class Blocks(httpx.AsyncByteStream):
    """A response body that consists of these network blocks; raises an exception among them.

    `sent` counts the blocks that were read.
    """

    def __init__(self, blocks: Iterable[bytes | Exception]) -> None:
        self._blocks = list(blocks)
        self.sent = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for block in self._blocks:
            if isinstance(block, Exception):
                raise block
            await asyncio.sleep(0)
            self.sent += 1
            yield block


def answering(
    *blocks: bytes | Exception, status: int = 200, headers: Mapping[str, str] | None = None
) -> httpx.MockTransport:
    """Return a server that answers every request with these blocks."""
    fields = {"content-type": "text/event-stream", **(headers or {})}
    return httpx.MockTransport(
        lambda _: httpx.Response(status, headers=fields, stream=Blocks(blocks))
    )


def chunk(text: str | None = None, *, finish: str | None = None, **delta: Any) -> bytes:
    """Return one event of a stream in OpenAI's format."""
    content = {**({} if text is None else {"content": text}), **delta}
    choice = {"index": 0, "delta": content, "finish_reason": finish}
    return event({"id": "chatcmpl-1", "model": "model-2024", "choices": [choice]})


def event(data: object) -> bytes:
    return b"data: " + json.dumps(data, ensure_ascii=False).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"


class Recording(httpx.AsyncBaseTransport):
    """Records the body, the time and the headers of each request; the mock responds."""

    def __init__(self, inner: httpx.AsyncBaseTransport | None = None) -> None:
        self.inner = inner or MockTransport()
        self.asked: list[dict[str, Any]] = []
        self.at: list[float] = []
        self.headers: list[httpx.Headers] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(json.loads(await request.aread()))
        self.at.append(now())
        self.headers.append(request.headers)
        return await self.inner.handle_async_request(request)

    def asked_models(self) -> list[str]:
        return [asked["model"].partition("?")[0] for asked in self.asked]

    def last_message(self, name: str) -> str:
        """Return the last message that model `name` was sent."""
        (found,) = [each for each in self.asked if each["model"].partition("?")[0] == name]
        message: str = found["messages"][-1]["content"]
        return message


DEFAULTS = AgentDefaults(model="gpt-4o-mini", base_url=URL, max_tokens=100)
CHECKS = {name: strategy.check for name, strategy in STRATEGIES.items()}


def a_catalog(text: str) -> Catalog:
    return parse_ensembles(text, source="ensembles.toml", defaults=DEFAULTS, checks=CHECKS)


def an_ensemble_file(
    agents: Mapping[str, Mapping[str, Any]],
    combiner: Mapping[str, Any] | None,
    prices: Iterable[str] = (),
    others: Mapping[str, Mapping[str, Any]] | None = None,
    **ensemble: Any,
) -> str:
    """Return the text of an ensembles file with one ensemble, called fanout.

    `combiner` None makes it a solo of the one agent. Each of `prices`, a model's name, costs a
    million dollars per million tokens: one dollar a token. `others` are further agents.
    """
    lines = ['default = "fanout"']
    everyone = {**agents, **({"combine": combiner} if combiner is not None else {})}
    for name, fields in everyone.items():
        lines += [f"[agents.{name}]", *(f"{key} = {_toml(each)}" for key, each in fields.items())]
    for name, fields in (others or {}).items():
        lines += [f"[agents.{name}]", *(f"{key} = {_toml(each)}" for key, each in fields.items())]
    lines += ["[ensembles.fanout]"]
    members = ensemble.pop("members", list(agents))
    if "layers" not in ensemble:
        lines.append(f"agents = {_toml(members)}")
    if combiner is not None:
        lines.append('combiner = "combine"')
    elif "strategy" not in ensemble:
        lines.append('strategy = "solo"')
    lines += [f"{key} = {_toml(value)}" for key, value in ensemble.items()]
    for name in prices:
        lines += [f"[prices.{_toml(name)}]", "input = 1e6", "output = 1e6"]
    return "\n".join(lines)


def _toml(value: object) -> str:
    return json.dumps(value)  # strings, numbers, booleans and lists are written alike


def an_ask(**changes: Any) -> RunRequest:
    fields: dict[str, Any] = {
        "messages": (Message("user", "Why is the sky blue?"),),
        "message_id": "message_1",
        "history": NewConversation("conv_1"),
        "ensemble": "",
    }
    return RunRequest(**{**fields, **changes})


@dataclass
class EmittedEvents:
    """The events that a strategy emits, with their times."""

    events: list[Event] = field(default_factory=list)
    at: list[float] = field(default_factory=list)

    async def emit(self, event: Event) -> None:
        self.events.append(event)
        self.at.append(now())

    def types(self) -> list[str]:
        return [event.type for event in self.events]

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def one(self, kind: type[Any]) -> Any:
        (found,) = self.of(kind)
        return found

    def when(self, kind: type[Any], agent: str | None = None) -> float:
        """Return the moment of the first event of `kind` (and of `agent`)."""
        return next(
            at
            for at, event in zip(self.at, self.events, strict=True)
            if isinstance(event, kind) and agent in (None, getattr(event, "agent", None))
        )

    @property
    def answer(self) -> str:
        return "".join(event.text for event in self.of(AnswerDelta))


async def until(condition: Callable[[], bool], timeout_s: float = 5.0) -> None:
    """Wait until `condition` holds."""
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.001)


@asynccontextmanager
async def raw_server(
    handle: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[str]:
    """Serve each connection with `handle` on a local port; yields the base URL.

    With `tls` the host is `localhost`.
    """
    writers: list[asyncio.StreamWriter] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        await handle(reader, writer)

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    try:
        origin = "https://localhost" if tls else "http://127.0.0.1"
        yield f"{origin}:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        server.close()
        for writer in writers:
            writer.close()
        await server.wait_closed()


def no_key(_agent: Agent) -> str | None:
    return None
