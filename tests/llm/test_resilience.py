"""Deadlines, the retry budget and retry delays, on a skipping clock, so seconds are exact."""

from __future__ import annotations

import asyncio

import pytest

from service.errors import UpstreamTimeout
from service.llm.resilience import BACKOFF_BASE_S, BACKOFF_MAX_S, Deadlines, RetryBudget
from service.llm.resilience import retry_delay_s as delay
from tests._support.llm.scripted import SkippingLoop, now, skipping


def _make_deadlines(
    total_s: float = 60, first_token_s: float | None = 10, idle_s: float | None = 5
) -> Deadlines:
    return Deadlines("m", total_s=total_s, first_token_s=first_token_s, idle_s=idle_s)


async def _wait_forever() -> None:
    await asyncio.Event().wait()


async def _stream(deadlines: Deadlines, *gaps: float) -> None:
    """Receive a token after each gap, then none."""
    async with deadlines:
        for gap in gaps:
            await asyncio.sleep(gap)
            deadlines.progress()
        await _wait_forever()


# --- deadlines ---


@skipping
async def test_without_a_token_the_first_token_deadline_applies() -> None:
    with pytest.raises(UpstreamTimeout, match=r"^m sent no token within 10 s\.$"):
        await _stream(_make_deadlines())
    assert now() == 10


@skipping
async def test_after_a_token_the_idle_deadline_applies_even_before_the_first_token_deadline() -> (
    None
):
    with pytest.raises(UpstreamTimeout, match=r"^m went silent for 5 s\.$"):
        await _stream(_make_deadlines(first_token_s=30), 1)
    assert now() == 6


@skipping
async def test_every_token_restarts_the_idle_deadline() -> None:
    with pytest.raises(UpstreamTimeout, match="went silent"):
        await _stream(_make_deadlines(), *[4] * 8)
    assert now() == 8 * 4 + 5


@skipping
async def test_tokens_do_not_move_the_total_deadline() -> None:
    with pytest.raises(UpstreamTimeout, match=r"^m had not finished after 60 s\.$"):
        await _stream(_make_deadlines(), *[1] * 99)
    assert now() == 60


@skipping
async def test_a_total_deadline_before_the_others_applies_first() -> None:
    with pytest.raises(UpstreamTimeout, match="had not finished after 2 s"):
        await _stream(_make_deadlines(total_s=2))
    assert now() == 2


@skipping
async def test_deadlines_that_are_none_never_pass() -> None:
    async with _make_deadlines(first_token_s=None, idle_s=None) as deadlines:
        await asyncio.sleep(29)
        deadlines.progress()
        await asyncio.sleep(29)


@skipping
async def test_a_block_that_ends_in_time_leaves_no_timer_behind() -> None:
    async with _make_deadlines():
        await asyncio.sleep(1)
    await asyncio.sleep(100)


@skipping
async def test_an_error_within_the_block_is_raised_unchanged() -> None:
    with pytest.raises(LookupError):
        async with _make_deadlines():
            raise LookupError


@skipping
async def test_a_cancellation_is_not_reported_as_a_timeout() -> None:
    task = asyncio.create_task(_stream(_make_deadlines()))
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_thousands_of_tokens_need_only_a_few_timers() -> None:
    async def stream() -> None:
        async with _make_deadlines(total_s=1_000) as deadlines:
            for _ in range(2_000):
                await asyncio.sleep(0)
                deadlines.progress()

    with asyncio.Runner(loop_factory=SkippingLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, SkippingLoop)
        runner.run(stream())
        assert loop.timers < 5


# --- the retry budget ---


def test_a_budget_starts_with_its_reserve() -> None:
    budget = RetryBudget(reserve=3)
    assert [budget.withdraw("a") for _ in range(4)] == [True, True, True, False]


def test_calls_add_their_share_of_retries() -> None:
    budget = RetryBudget(ratio=0.25, reserve=1)
    assert budget.withdraw("a")
    for _ in range(4):
        assert not budget.withdraw("a")
        budget.record_call()
    assert budget.withdraw("a")


def test_the_budget_never_exceeds_the_reserve() -> None:
    budget = RetryBudget(ratio=0.5, reserve=2)
    for _ in range(100):
        budget.record_call()
    assert [budget.withdraw("a") for _ in range(3)] == [True, True, False]


def test_in_an_outage_retries_are_a_fifth_of_the_calls() -> None:
    budget, retries = RetryBudget(), 0
    for _ in range(1_000):
        budget.record_call()
        retries += budget.withdraw("a")
    assert retries == pytest.approx(0.2 * 1_000 + 10, abs=2)


# --- retry delays ---


@pytest.mark.parametrize("attempt", [1, 2, 3, 10])
def test_a_delay_is_random_below_a_ceiling_that_doubles(attempt: int) -> None:
    ceiling = min(BACKOFF_MAX_S, BACKOFF_BASE_S * 2 ** (attempt - 1))
    delays = [delay(attempt, None) for _ in range(300)]
    assert min(delays) >= 0
    assert max(delays) <= ceiling


def test_delays_differ() -> None:
    assert len({delay(3, None) for _ in range(20)}) == 20


@pytest.mark.parametrize("attempt", [1, 5])
def test_retry_after_is_the_minimum_delay(attempt: int) -> None:
    delays = [delay(attempt, 7) for _ in range(300)]
    assert min(delays) >= 7
    assert max(delays) <= 7 + BACKOFF_MAX_S
