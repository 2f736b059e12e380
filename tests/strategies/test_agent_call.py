"""The attempts of one agent: retries, their delays and limits, and fallback models."""

from __future__ import annotations

from typing import Any

import pytest

from service.events import AgentFailed, AgentFinished, AgentRetrying
from service.llm.resilience import RetryBudget
from tests._support.llm.scripted import model, now
from tests._support.runs.strategy_play import Outcome, play


async def _solo(model_name: str, **more: Any) -> Outcome:
    agent = {name: more.pop(name) for name in list(more) if name in _AGENT_KEYS}
    return await play({"a": {"model": model_name, **agent}}, None, **more)


_AGENT_KEYS = {"retries", "fallbacks", "timeout_s", "first_token_timeout_s", "idle_timeout_s"}


# --- retries ---


async def test_a_call_that_fails_before_its_first_token_is_retried() -> None:
    outcome = await _solo(model(fault="status", status=503, times=2))
    assert len(outcome.server.asked) == 3
    assert outcome.good.answered_by == "a"
    assert [event.attempt for event in outcome.of(AgentRetrying)] == [1, 2]


async def test_a_retry_is_reported_with_its_reason_and_delay() -> None:
    outcome = await _solo(model(fault="refuse", times=1))
    retrying = outcome.one(AgentRetrying)
    assert (retrying.agent, retrying.code) == ("a", "upstream_unreachable")
    assert outcome.server.at[1] - outcome.server.at[0] == pytest.approx(
        retrying.delay_ms / 1000, abs=0.001
    )


async def test_an_agent_is_retried_at_most_retries_times() -> None:
    outcome = await _solo(model(fault="status"), retries=1)
    assert len(outcome.server.asked) == 2
    assert outcome.bad.code == "upstream_failed"


async def test_an_agent_without_retries_is_called_once() -> None:
    assert len((await _solo(model(fault="status"), retries=0)).server.asked) == 1


@pytest.mark.parametrize("fault", ["reset", "cut", "error_object"])
async def test_after_the_first_token_there_is_no_retry(fault: str) -> None:
    outcome = await _solo(model(fault=fault, after=2), fallbacks=[model("spare")], continues=0)
    assert len(outcome.server.asked) == 1
    assert outcome.of(AgentRetrying) == []
    assert outcome.error


@pytest.mark.parametrize("fault", ["reset", "cut", "error_object"])
async def test_a_stream_that_breaks_before_its_first_token_is_retried(fault: str) -> None:
    outcome = await _solo(model(fault=fault, after=0, times=1))
    assert len(outcome.server.asked) == 2
    assert outcome.good.answered_by == "a"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
async def test_a_refused_call_is_not_retried(status: int) -> None:
    assert len((await _solo(model(fault="status", status=status))).server.asked) == 1


async def test_a_timeout_is_not_retried() -> None:
    outcome = await _solo(model(fault="hang"), first_token_timeout_s=3)
    assert len(outcome.server.asked) == 1
    assert outcome.bad.code == "upstream_timeout"


async def test_a_retry_waits_for_retry_after() -> None:
    outcome = await _solo(model(fault="status", status=429, retry_after=6, times=1))
    assert outcome.server.at[1] - outcome.server.at[0] >= 6
    assert outcome.good.answered_by == "a"


async def test_a_retry_after_beyond_the_time_left_fails_at_once() -> None:
    outcome = await _solo(model(fault="status", status=429, retry_after=60), timeout_s=30)
    assert (len(outcome.server.asked), outcome.bad.code) == (1, "upstream_busy")
    assert now() < 1


async def test_no_retry_starts_after_the_runs_deadline() -> None:
    outcome = await _solo(model(fault="status", status=503, retry_after=10), deadline_s=5)
    assert len(outcome.server.asked) == 1


async def test_all_attempts_share_the_agents_time() -> None:
    name = model(fault="status", status=503, first_ms=0, retry_after=4)
    outcome = await _solo(name, retries=10, timeout_s=10)
    assert now() <= 10
    assert outcome.error


async def test_a_later_attempt_has_only_the_remaining_time() -> None:
    busy_then_slow = model(fault="status", status=503, times=1, retry_after=6, first_ms=60_000)
    outcome = await _solo(busy_then_slow, timeout_s=10, first_token_timeout_s=30)
    assert outcome.bad.code == "upstream_timeout"
    assert now() == pytest.approx(10, abs=0.01)


async def test_without_a_retry_budget_there_is_no_retry() -> None:
    outcome = await _solo(model(fault="status"), budget=RetryBudget(ratio=0, reserve=0))
    assert len(outcome.server.asked) == 1


async def test_usage_and_cost_include_failed_attempts() -> None:
    outcome = await _solo(model(fault="status", times=1, tokens=5))
    assert outcome.good.usage.output_tokens == 5
    assert outcome.one(AgentFinished).report.usage == outcome.good.usage


# --- fallbacks ---


async def test_fallbacks_are_called_in_their_order() -> None:
    bad = model("second", fault="status", status=404)
    outcome = await _solo(
        model("first", fault="status", status=404), fallbacks=[bad, model("third"), model("no")]
    )
    assert outcome.server.asked_models() == ["first", "second", "third"]


async def test_an_answer_of_a_fallback_is_degraded_and_names_its_model() -> None:
    spare = model("spare")
    outcome = await _solo(model(fault="status", status=404), fallbacks=[spare])
    assert outcome.good.degraded_by == ("combiner",)
    assert outcome.one(AgentFinished).report.model == spare


async def test_the_use_of_a_fallback_is_reported() -> None:
    outcome = await _solo(model(fault="status", status=404), fallbacks=[model("spare")])
    retrying = outcome.one(AgentRetrying)
    assert retrying.code == "upstream_refused"
    assert retrying.model == model("spare")


async def test_a_model_is_retried_before_its_fallback_is_called() -> None:
    outcome = await _solo(model("first", fault="refuse"), retries=1, fallbacks=[model("spare")])
    assert outcome.server.asked_models() == ["first", "first", "spare"]


async def test_a_model_without_a_token_in_time_is_replaced_by_its_fallback() -> None:
    outcome = await _solo(
        model("first", fault="hang"), first_token_timeout_s=3, fallbacks=[model("spare")]
    )
    assert outcome.good.degraded_by == ("combiner",)


async def test_when_every_model_fails_the_last_reason_is_reported() -> None:
    outcome = await _solo(
        model("first", fault="refuse"),
        retries=0,
        fallbacks=[model("spare", fault="status", status=404)],
    )
    assert outcome.one(AgentFailed).message.startswith("spare?")


async def test_no_fallback_is_called_when_no_time_is_left() -> None:
    outcome = await _solo(model("first", fault="hang"), timeout_s=3, fallbacks=[model("spare")])
    assert outcome.server.asked_models() == ["first"]
    assert "had not finished after 3 s" in outcome.bad.message


async def test_the_price_is_that_of_the_model_that_answered() -> None:
    first, spare = model("first", fault="status", status=404), model("spare", tokens=2)
    outcome = await _solo(first, fallbacks=[spare], prices=[first])
    assert outcome.good.cost == 0
