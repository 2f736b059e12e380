"""The queue of an endpoint's calls: its limits, its order, and its adaptation to refusals."""

from __future__ import annotations

import asyncio
import random

import pytest

from service.ensembles.endpoints import EndpointLimits
from service.llm.endpoints.rate_headers import RemainingRate
from service.llm.endpoints.turns import MOST_WAIT_S, Turn, TurnQueue, TurnRefused
from tests._support.llm.scripted import now, skipping


def _queue(**limits: int) -> TurnQueue:
    return TurnQueue(EndpointLimits(**limits))


async def _enter(queue: TurnQueue, model: str = "m", tokens: int = 1) -> Turn:
    return await queue.enter(model, tokens, 100.0)


@skipping
async def test_at_most_parallel_calls_run_and_the_others_follow_in_order() -> None:
    queue, order, most = _queue(parallel=3), [], 0
    running = 0

    async def call(number: int) -> None:
        nonlocal running, most
        turn = await _enter(queue)
        order.append(number)
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.5)
        running -= 1
        turn.end()

    async with asyncio.TaskGroup() as group:
        for number in range(20):
            group.create_task(call(number))
    assert most == 3
    assert order == list(range(20))
    assert queue.is_idle


@skipping
async def test_requests_above_rpm_wait_until_the_window_has_room() -> None:
    queue = _queue(rpm=10)
    for _ in range(10):
        (await _enter(queue)).end()
        await asyncio.sleep(5.5)
    turn = await _enter(queue)
    assert 60.0 <= now() <= 60.3
    assert turn.reason == "rpm"
    assert turn.waited_s == pytest.approx(5.0, abs=0.3)


@skipping
async def test_a_call_that_cannot_pass_soon_is_refused_at_once() -> None:
    queue = _queue(rpm=1)
    (await _enter(queue)).end()
    with pytest.raises(TurnRefused) as refused:
        await _enter(queue)
    assert now() == 0
    assert refused.value.reason == "rpm"
    assert 59 < refused.value.after_s <= 61


@skipping
async def test_a_wait_for_a_running_call_is_bounded() -> None:
    queue = _queue(parallel=1)
    turn = await _enter(queue)
    with pytest.raises(TurnRefused):
        await _enter(queue)
    assert now() == pytest.approx(MOST_WAIT_S)
    with pytest.raises(TurnRefused):
        await queue.enter("m", 1, 2.0)  # the call's own time is shorter
    assert now() == pytest.approx(MOST_WAIT_S + 2)
    turn.end()
    assert queue.is_idle


@skipping
async def test_tokens_are_reserved_and_corrected_to_those_used() -> None:
    queue = _queue(tpm=1_000)
    first = await _enter(queue, tokens=900)
    with pytest.raises(TurnRefused):
        await _enter(queue, tokens=200)
    first.end(tokens=300)
    (await _enter(queue, tokens=700)).end()
    with pytest.raises(TurnRefused) as refused:
        await _enter(queue, tokens=1)
    assert refused.value.reason == "tpm"


@skipping
async def test_a_cancelled_wait_leaves_no_gap_at_any_moment() -> None:
    chosen, queue = random.Random(5), _queue(parallel=2)

    async def call() -> None:
        turn = await _enter(queue)
        try:
            await asyncio.sleep(chosen.random())
        finally:
            turn.end()

    tasks = [asyncio.create_task(call()) for _ in range(200)]
    for task in tasks:
        if chosen.random() < 0.5:
            await asyncio.sleep(chosen.choice((0.0, 0.01)))
            task.cancel()
    for _ in range(40):  # waits longer than ten seconds are refused
        await asyncio.sleep(1)
    await asyncio.gather(*tasks, return_exceptions=True)
    assert queue.is_idle
    turns = [await _enter(queue) for _ in range(2)]
    assert len(turns) == 2


@skipping
async def test_a_turn_received_in_the_moment_of_the_cancellation_is_returned() -> None:
    queue = _queue(parallel=1)
    turn = await _enter(queue)
    waiting = asyncio.create_task(_enter(queue))
    await asyncio.sleep(0)
    turn.end()  # the waiting task now has a turn
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert queue.is_idle


@skipping
async def test_a_refusal_halves_the_limits_and_they_recover() -> None:
    queue = _queue(parallel=8)
    turns = [await _enter(queue) for _ in range(8)]
    for turn in turns:  # refusals of the same moment are one event
        queue.rate.record_refusal("m", started_at=turn.started_at, now=now(), retry_after_s=0.0)
        turn.end()
    assert queue.rate.apply(8, now()) == 4
    await asyncio.sleep(1)
    queue.rate.record_refusal("m", started_at=now(), now=now(), retry_after_s=0.0)
    assert queue.rate.apply(8, now()) == 2
    await asyncio.sleep(30)
    assert 3 <= queue.rate.apply(8, now()) <= 5
    await asyncio.sleep(90)
    assert queue.rate.apply(8, now()) == 8


@skipping
async def test_a_refused_model_pauses_and_other_models_overtake_it() -> None:
    queue = _queue(rpm=100)
    queue.rate.record_refusal("a", started_at=0.0, now=0.0, retry_after_s=5.0)
    paused = [asyncio.create_task(_enter(queue, "a")) for _ in range(3)]
    await asyncio.sleep(0)
    (await _enter(queue, "b")).end()
    assert now() == 0
    turns = await asyncio.gather(*paused)
    assert now() == pytest.approx(5.0)
    assert {turn.reason for turn in turns} == {"paused"}
    queue.rate.record_refusal("a", started_at=now(), now=now(), retry_after_s=90.0)
    with pytest.raises(TurnRefused) as refused:
        await _enter(queue, "a")
    assert refused.value.after_s == pytest.approx(90.0)


@skipping
async def test_the_rest_of_a_server_limit_delays_calls_until_it_fills_up() -> None:
    queue = _queue(parallel=100)
    queue.rate.record_headers("m", [RemainingRate("requests", 1, 60.0, 60)], now())
    (await _enter(queue)).end()
    (await _enter(queue)).end()
    assert now() == pytest.approx(1.0, abs=0.1)  # a request a second
    queue.rate.record_headers("m", [RemainingRate("tokens", 10, 4.0)], now())
    before = now()
    (await _enter(queue, tokens=500)).end()
    assert now() - before == pytest.approx(4.0)


@skipping
async def test_changed_limits_apply_to_calls_that_wait() -> None:
    queue = _queue(parallel=1)
    await _enter(queue)
    waiting = asyncio.create_task(_enter(queue))
    await asyncio.sleep(1)
    assert not waiting.done()
    queue.change_limits(EndpointLimits(parallel=2))
    await waiting
    assert now() == 1
