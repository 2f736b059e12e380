"""Hedges: a request whose first token is late is sent a second time, within a limit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from service.ensembles.catalog import Agent
from service.events import AgentFailed, AgentFinished, AgentHedged, AnswerDelta
from service.llm.endpoints.hedges import HedgeBudgets
from service.llm.endpoints.pace import AgentPaces
from telemetry import Telemetry, TelemetryConfig
from tests._support.llm.paced_server import PacedServer, Timing
from tests._support.llm.scripted import URL, Recording, now
from tests._support.runs.strategy_play import Outcome, play

USUAL = Timing(first_s=0.5, tokens=4, gap_s=0.01)
SILENT = Timing(first_s=8.0, tokens=4, gap_s=0.01)
BROKEN = Timing(first_s=1.0, status=500)
QUICKLY_BROKEN = Timing(first_s=0.1, status=400)
SECOND_URL = "http://second.test/v1"


class Solo:
    """Questions to one agent whose usual pace is known, with a budget for hedges."""

    def __init__(self, saved: int = 5, **agent: Any) -> None:
        self.timings: list[Timing] = []  # of the next requests
        self.server = PacedServer(lambda _: self.timings.pop(0) if self.timings else USUAL)
        self.paces = AgentPaces()
        self.hedges = HedgeBudgets()
        self.telemetry = Telemetry(TelemetryConfig())
        self._agent = {"model": "m", "retries": 0, **agent}
        for _ in range(30):
            self.paces.of("a", URL, "m").record_answer(
                first_s=0.5, end_s=0.53, silence_s=0.01, tokens=4
            )
        for _ in range(saved):
            self.hedges.of(URL).record_call(1.0)

    async def ask(self, *timings: Timing, **more: Any) -> Outcome:
        """Ask; the first request has the first timing, its hedge the second one."""
        self.timings = list(timings)
        return await play(
            {"a": self._agent},
            None,
            server=self.server,
            paces=self.paces,
            hedges=self.hedges,
            telemetry=self.telemetry,
            **more,
        )

    def count(self, reason: str) -> float:
        """Return the value of the metric of hedges for this result."""
        page = self.telemetry.render_metrics("")[0].decode()
        sample = f'fanout_hedges_total{{agent="_OTHER",reason="{reason}"}}'
        found = [line.split()[-1] for line in page.splitlines() if line.startswith(sample)]
        return float(found[0]) if found else 0.0


async def test_a_call_without_a_token_after_its_usual_time_is_sent_a_second_time() -> None:
    solo = Solo()
    outcome = await solo.ask(SILENT, USUAL)
    assert solo.server.asked == ["m", "m"]
    hedged = outcome.one(AgentHedged)
    assert (hedged.agent, hedged.model) == ("a", "m")
    assert 500 < hedged.waited_ms < 700
    assert outcome.when(AnswerDelta) - outcome.at[0] < 1.2
    assert outcome.answer == "w0 w1 w2 w3 "
    assert solo.count("won") == 1


async def test_a_hedge_that_is_late_too_is_followed_by_a_last_one() -> None:
    solo = Solo()
    outcome = await solo.ask(SILENT, SILENT, USUAL)
    assert [round(each.waited_ms, -2) for each in outcome.of(AgentHedged)] == [600, 1200]
    assert outcome.when(AnswerDelta) - outcome.at[0] == pytest.approx(1.7, abs=0.05)
    assert solo.server.cancelled == ["m", "m"]
    assert (solo.count("won"), solo.count("lost")) == (1, 1)
    assert outcome.good.usage.input_tokens == 15
    await solo.ask(SILENT, SILENT, SILENT)
    assert len(solo.server.asked) == 6


async def test_the_slower_request_is_cancelled() -> None:
    solo = Solo()
    await solo.ask(SILENT, USUAL)
    assert solo.server.cancelled == ["m"]
    outcome = await solo.ask(Timing(first_s=0.8), SILENT)
    assert solo.server.cancelled == ["m", "m"]
    assert outcome.answer.startswith("w0 w1 ")
    assert solo.count("lost") == 1


async def test_a_call_that_is_not_late_is_sent_once() -> None:
    solo = Solo()
    for _ in range(20):
        assert (await solo.ask(USUAL)).of(AgentHedged) == []
    assert len(solo.server.asked) == 20


async def test_a_call_is_not_hedged_after_its_first_token() -> None:
    solo = Solo()
    stalls = Timing(first_s=0.4, tokens=4, silent_after=1, silent_s=5.0)
    assert (await solo.ask(stalls)).of(AgentHedged) == []
    assert len(solo.server.asked) == 1


async def test_a_call_with_too_few_recent_ones_is_not_hedged() -> None:
    solo = Solo()
    solo.paces = AgentPaces()
    assert (await solo.ask(SILENT)).of(AgentHedged) == []


async def test_a_call_that_is_not_streamed_is_not_hedged() -> None:
    assert (await Solo(stream=False).ask(SILENT)).of(AgentHedged) == []


@pytest.mark.parametrize("url", [URL, "HTTP://MODELS.test:80/v1/"])
async def test_hedge_0_of_the_endpoint_switches_hedges_off(url: str) -> None:
    outcome = await Solo().ask(SILENT, endpoints={url: 0})
    assert outcome.of(AgentHedged) == []
    assert outcome.when(AnswerDelta) - outcome.at[0] == pytest.approx(8.0)


async def test_without_saved_hedges_a_late_call_is_only_waited_for() -> None:
    solo = Solo(saved=0)
    assert (await solo.ask(SILENT)).of(AgentHedged) == []
    page = solo.telemetry.render_metrics("")[0].decode()
    assert 'fanout_refused_hedges_total{agent="_OTHER"} 1.0' in page


async def test_hedges_are_at_most_five_in_a_hundred_calls_when_every_call_is_late() -> None:
    solo, hedges = Solo(saved=0), 0
    for _ in range(200):
        outcome = await solo.ask(Timing(first_s=3.0, tokens=1))
        hedges += len(outcome.of(AgentHedged))
    assert hedges <= 10
    assert len(solo.server.asked) == 200 + hedges


# --- usage and cost ---


async def test_usage_and_cost_have_both_requests() -> None:
    outcome = await Solo().ask(SILENT, USUAL, prices=["m"])
    (report,) = [each.report for each in outcome.of(AgentFinished)]
    assert report.usage.output_tokens == 4
    assert report.usage.input_tokens == 5 + 5  # reported for one, estimated for the other
    assert report.usage.estimated
    assert report.cost == 5 + 5 + 4
    assert outcome.good.cost == report.cost


async def test_the_usage_of_a_call_that_was_not_hedged_is_not_estimated() -> None:
    outcome = await Solo().ask(USUAL)
    assert not outcome.good.usage.estimated


# --- failures ---


async def test_a_hedge_answers_when_the_original_fails_after_it_was_sent() -> None:
    solo = Solo()
    outcome = await solo.ask(BROKEN, Timing(first_s=3.0))
    assert outcome.answer.startswith("w0 ")
    assert outcome.of(AgentFailed) == []


async def test_a_failed_hedge_leaves_the_original_alone() -> None:
    solo = Solo()
    outcome = await solo.ask(Timing(first_s=4.0), QUICKLY_BROKEN)
    assert outcome.answer.startswith("w0 ")
    assert solo.count("failed") == 1
    assert outcome.good.usage.input_tokens == 5


async def test_when_both_fail_the_error_is_that_of_the_original() -> None:
    solo = Solo()
    outcome = await solo.ask(BROKEN, QUICKLY_BROKEN)
    assert outcome.one(AgentFailed).code == "upstream_failed"
    assert (await Solo(retries=1).ask(BROKEN, BROKEN)).answer  # the retry answers


async def test_an_original_that_fails_at_once_is_retried_and_not_hedged() -> None:
    outcome = await Solo(retries=1).ask(Timing(first_s=0.0, status=503))
    assert outcome.of(AgentHedged) == []
    assert outcome.answer


async def test_a_cancelled_run_cancels_both_requests() -> None:
    solo = Solo()
    outcome = Outcome(server=Recording(solo.server))
    task = asyncio.create_task(solo.ask(SILENT, SILENT, outcome=outcome))
    await asyncio.sleep(1.0)
    assert len(solo.server.asked) == 2
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert solo.server.cancelled == ["m", "m"]
    assert solo.count("cancelled") == 1
    assert outcome.kit.usage.input_tokens == 10
    assert len(asyncio.all_tasks()) == 1


async def test_responses_at_the_same_moment_are_not_mixed() -> None:
    for shift_ms in range(-3, 4):
        solo = Solo()
        outcome = await solo.ask(Timing(first_s=1.1 + shift_ms / 1000, tokens=4), USUAL)
        assert outcome.answer == "w0 w1 w2 w3 "
        assert len(solo.server.cancelled) == 1


# --- a second address and key ---


def _name_key(agent: Agent) -> str | None:
    return agent.key_env


async def test_a_hedge_goes_to_the_second_address_with_its_model_and_key() -> None:
    solo = Solo(
        key_env="FIRST",
        hedge_base_url=SECOND_URL,
        hedge_key_env="SECOND",
        hedge_model="vendor/m",
    )
    outcome = await solo.ask(SILENT, USUAL, keys=_name_key)
    assert solo.server.asked == ["m", "vendor/m"]
    assert solo.server.hosts == ["models.test", "second.test"]
    assert solo.server.keys == ["Bearer FIRST", "Bearer SECOND"]
    assert outcome.one(AgentFinished).report.model == "vendor/m"
    assert outcome.one(AgentHedged).model == "vendor/m"


async def test_a_hedge_may_have_only_another_key() -> None:
    solo = Solo(key_env="FIRST", hedge_key_env="SECOND")
    await solo.ask(SILENT, USUAL, keys=_name_key)
    assert solo.server.hosts == ["models.test"] * 2
    assert solo.server.keys == ["Bearer FIRST", "Bearer SECOND"]


async def test_the_pace_of_the_second_address_is_its_own() -> None:
    solo = Solo(hedge_base_url=SECOND_URL)
    await solo.ask(SILENT, USUAL)
    assert len(solo.paces.of("a", SECOND_URL, "m").first_token_s) == 1


# --- agents of an ensemble ---


def _solo_like(choose: Callable[[str], Timing]) -> tuple[PacedServer, AgentPaces, HedgeBudgets]:
    paces, hedges = AgentPaces(), HedgeBudgets()
    for name in ("a", "b", "combine"):
        for _ in range(30):
            paces.of(name, URL, name).record_answer(
                first_s=0.5, end_s=0.53, silence_s=0.01, tokens=4
            )
    return PacedServer(choose), paces, hedges


async def test_a_combiner_is_hedged() -> None:
    late = ["combine"]
    server, paces, hedges = _solo_like(
        lambda name: SILENT if name in late and late.pop() else USUAL
    )
    hedges.of(URL).record_call(1.0)
    outcome = await play(
        {"a": {"model": "a"}, "b": {"model": "b"}},
        {"model": "combine"},
        server=server,
        paces=paces,
        hedges=hedges,
    )
    assert outcome.one(AgentHedged).agent == "combine"
    assert outcome.answer == "w0 w1 w2 w3 "


async def test_the_last_hedges_are_left_for_the_combiner() -> None:
    server, paces, hedges = _solo_like(lambda name: SILENT if name == "a" else USUAL)
    for _ in range(5):
        hedges.of(URL).record_call(1.0)
    agents = {"a": {"model": "a"}, "b": {"model": "b"}}
    for min_answers, expected in ((1, 0), (2, 2)):
        outcome = await play(
            agents,
            {"model": "combine"},
            server=server,
            paces=paces,
            hedges=hedges,
            min_answers=min_answers,
        )
        assert len(outcome.of(AgentHedged)) == expected


async def test_a_silent_twentieth_of_all_calls_hardly_delays_the_first_token() -> None:
    random, runs = Random(11), 300
    usual = Timing(first_s=0.1, tokens=8, gap_s=0.1)
    silent = replace(usual, first_s=8.0)
    server = PacedServer(lambda _: silent if random.random() < 0.05 else usual)
    paces, hedges, telemetry = AgentPaces(), HedgeBudgets(), Telemetry(TelemetryConfig())
    waits = []
    for _ in range(40 + runs):  # the first ones learn the pace, and save hedges
        started = now()
        outcome = await play(
            {"a": {"model": "a"}, "b": {"model": "b"}},
            {"model": "combine"},
            server=server,
            paces=paces,
            hedges=hedges,
            telemetry=telemetry,
        )
        waits.append(outcome.when(AnswerDelta) - started)
    assert len(server.asked) <= 1.05 * 3 * (40 + runs)
    p50, p99 = (sorted(waits[40:])[int(part * runs)] for part in (0.5, 0.99))
    assert p50 == pytest.approx(0.9, abs=0.01)
    assert p99 <= 1.3 * p50  # without hedges it is ten times as long
