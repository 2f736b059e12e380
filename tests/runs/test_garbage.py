"""Ended runs: they leave nothing that only the garbage collector can free."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from typing import Any

import httpx
import pytest

from service.mock_llm.transport import MockTransport
from service.runs.run import LiveRun
from tests._support.garbage import collecting
from tests._support.llm.scripted import model
from tests._support.runs.service import FOREVER, LONG, Service, ended, service

RUNS = 5
# In each run asyncio and httpx may leave some objects; a run has more than a thousand.
LIBRARIES = 20

FAILING = {
    "a": {"model": model("a", fault="status", status=500), "retries": 1},
    "b": {"model": model("b", fault="cut")},
}
BAD_COMBINER = {"model": model("combine", fault="cut", after=2)}
HUNG = {"model": model("hung", fault="stall", after=2), "timeout_s": 5}

# A task and a connection retain their context, and so the request and the client's connection.
request_of_the_framework: ContextVar[str] = ContextVar("request", default="")

Play = Callable[[Service], Awaitable[LiveRun]]


async def complete(it: Service) -> LiveRun:
    return await it.finish()


async def cancel(it: Service) -> LiveRun:
    run = await it.start()
    await asyncio.sleep(1)
    await it.runs.cancel(run)
    return run


async def cancel_at_once(it: Service) -> LiveRun:
    run = await it.start()
    await it.runs.cancel(run)
    return run


async def abandon(it: Service) -> LiveRun:
    run = await it.start()
    with it.runs.reading(run) as reader:
        await reader.take()
    return run


async def never_read(it: Service) -> LiveRun:
    return await it.start()


@pytest.mark.parametrize(
    ("play", "agents", "ensemble"),
    [
        (complete, None, {}),
        (complete, FAILING, {}),
        (complete, {"a": {"model": model("a")}}, {"combiner": BAD_COMBINER}),
        (complete, {"a": {"model": model("a")}, "b": HUNG}, {}),
        (complete, {"a": {"model": model("a")}, "b": HUNG}, {"straggler_grace_s": 1}),
        (complete, {"b": HUNG}, {"timeout_s": 3}),
        (complete, {"a": {"model": model("a")}}, {"combiner": None}),
        (complete, {"b": FAILING["b"]}, {"combiner": None}),
        (cancel, FOREVER, LONG),
        (cancel, {"a": {"model": model("a")}}, {"combiner": {**FOREVER["a"]}, **LONG}),
        (cancel_at_once, FOREVER, LONG),
        (abandon, FOREVER, LONG),
        (abandon, {"a": {"model": model("a")}}, {"combiner": {**FOREVER["a"]}, **LONG}),
        (never_read, FOREVER, LONG),
    ],
    ids=[
        "completed",
        "all agents failed",
        "the combiner failed midway",
        "an agent timed out",
        "a straggler was cut off",
        "the run timed out",
        "one agent",
        "the only agent failed",
        "cancelled while agents answer",
        "cancelled while the combiner answers",
        "cancelled before its first step",
        "abandoned while agents answer",
        "abandoned while the combiner answers",
        "never read",
    ],
)
async def test_an_ended_run_leaves_no_garbage(
    play: Play, agents: Mapping[str, Mapping[str, Any]] | None, ensemble: Mapping[str, Any]
) -> None:
    async with service(agents, **ensemble) as it:

        async def play_once() -> None:
            run = await play(it)
            await ended(run)
            assert await it.journal.settle(30)

        await play_once()  # fills caches
        with collecting() as garbage:
            for _ in range(RUNS):
                await play_once()
    assert garbage.ours == {}
    assert garbage.counts.total() <= LIBRARIES * RUNS, garbage.counts


async def test_the_calls_of_a_run_do_not_see_the_request_that_started_it() -> None:
    seen: list[str] = []

    class Server(MockTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            seen.append(request_of_the_framework.get())
            return await super().handle_async_request(request)

    async with service(server=Server()) as it:
        request_of_the_framework.set("a request")
        await it.finish()
    assert seen == [""] * len(seen)
    assert seen
