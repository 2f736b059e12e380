"""Stragglers: how long a run waits for each agent after enough others have answered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import pytest

from service.domain import Usage
from service.events import AgentFinished, AgentSkipped, CombineStarted
from service.llm.endpoints.pace import AgentPaces
from telemetry import Telemetry, TelemetryConfig
from tests._support.llm.paced_server import PacedServer, Timing
from tests._support.llm.scripted import URL, now
from tests._support.runs.scripted_texts import ScriptedTexts
from tests._support.runs.strategy_play import Outcome, play

QUICK = Timing(first_s=0.3, tokens=2, gap_s=0.04)
COMBINER = {"model": "combine"}


class Runs:
    """Runs of one ensemble, one after the other, with a quick agent and one of a given timing."""

    def __init__(self, **ensemble: Any) -> None:
        self.paces = AgentPaces()
        self.telemetry = Telemetry(TelemetryConfig())  # one for all runs: to create it takes longer
        self.timing = QUICK
        self.server = PacedServer(lambda model: self.timing if model == "other" else QUICK)
        self._ensemble = ensemble

    async def ask(self, timing: Timing, **agent: Any) -> Outcome:
        self.timing = timing
        other = {"model": "other", "retries": 0, **agent}
        return await play(
            {"quick": {"model": "quick"}, "other": other},
            COMBINER,
            server=self.server,
            paces=self.paces,
            telemetry=self.telemetry,
            **self._ensemble,
        )

    async def repeat(self, timings: Sequence[Timing]) -> list[Outcome]:
        return [await self.ask(timing) for timing in timings]


def _cuts(outcomes: Sequence[Outcome]) -> int:
    return sum(bool(each.of(AgentSkipped)) for each in outcomes)


async def _wait_s(runs: Runs, timing: Timing) -> float:
    """Return the seconds that a run waits for its agents."""
    started = now()
    outcome = await runs.ask(timing)
    return outcome.when(CombineStarted) - started


async def test_with_too_few_recent_calls_a_run_waits_ten_seconds_for_an_agent() -> None:
    runs = Runs()
    await runs.repeat([Timing(first_s=1.0)] * 5)
    assert await _wait_s(runs, Timing(first_s=9.0)) == pytest.approx(9.09)
    assert await _wait_s(runs, Timing(first_s=60.0)) == pytest.approx(10.34)


async def test_straggler_max_s_limits_the_wait() -> None:
    runs = Runs(straggler_max_s=3)
    assert await _wait_s(runs, Timing(first_s=60.0)) == pytest.approx(3.34)


async def test_with_none_a_run_waits_for_every_agent() -> None:
    runs = Runs(straggler_grace_s="none")
    await runs.repeat([QUICK] * 25)
    assert await _wait_s(runs, Timing(first_s=25.0)) == pytest.approx(25.09)


async def test_an_agent_that_is_always_slow_is_waited_for() -> None:
    outcomes = await Runs().repeat([Timing(first_s=6.0, tokens=20, gap_s=0.1)] * 60)
    assert _cuts(outcomes) == 0


async def test_a_silent_agent_is_cut_off_soon_after_its_usual_first_token() -> None:
    runs = Runs()
    await runs.repeat([Timing(first_s=1.0)] * 25)
    assert await _wait_s(runs, Timing(first_s=60.0)) < 1.5
    (skipped,) = (await runs.ask(Timing(first_s=60.0))).of(AgentSkipped)
    assert "longer than usual until its first token" in skipped.message
    assert runs.server.cancelled[-1] == "other"


async def test_a_silence_within_an_answer_ends_the_wait() -> None:
    runs = Runs()
    usual = Timing(first_s=1.0, tokens=50, gap_s=0.1)
    await runs.repeat([usual] * 25)
    stalled = Timing(first_s=1.0, tokens=50, gap_s=0.1, silent_after=20, silent_s=60.0)
    started = now()
    outcome = await runs.ask(stalled)
    (skipped,) = outcome.of(AgentSkipped)
    assert "silent for longer than usual" in skipped.message
    assert skipped.report.text.startswith("w0 w1 ")
    assert outcome.when(CombineStarted) - started < 3.5
    assert outcome.one(CombineStarted).used == ("quick", "other")


async def test_a_slower_but_steady_agent_gets_the_time_for_its_remaining_tokens() -> None:
    runs = Runs()
    await runs.repeat([Timing(first_s=1.0, tokens=40, gap_s=0.02)] * 25)
    outcome = await runs.ask(Timing(first_s=1.0, tokens=40, gap_s=0.2))
    assert outcome.of(AgentSkipped) == []


async def test_an_answer_much_longer_than_usual_is_cut_off_and_used() -> None:
    runs = Runs()
    await runs.repeat([Timing(first_s=1.0, tokens=20, gap_s=0.1)] * 25)
    (skipped,) = (await runs.ask(Timing(first_s=1.0, tokens=90, gap_s=0.1))).of(AgentSkipped)
    assert "longer than usual for its answer" in skipped.message
    assert 20 <= len(skipped.report.text.split()) < 60


async def test_agents_are_cut_off_one_by_one() -> None:
    paces = AgentPaces()
    timings = {"quick": QUICK, "soon": Timing(first_s=1.0), "late": Timing(first_s=4.0)}
    server = PacedServer(lambda model: timings.get(model, QUICK))
    agents = {name: {"model": name, "retries": 0} for name in timings}
    for _ in range(25):
        await play(agents, COMBINER, server=server, paces=paces)
    timings |= {"soon": Timing(first_s=60.0), "late": Timing(first_s=4.1)}
    outcome = await play(agents, COMBINER, server=server, paces=paces)
    assert [each.agent for each in outcome.of(AgentSkipped)] == ["soon"]
    assert outcome.when(AgentSkipped) < 2.0 + outcome.at[0]
    assert outcome.one(CombineStarted).used == ("quick", "late")


async def test_no_agent_is_cut_off_before_enough_have_answered() -> None:
    runs = Runs(min_answers=2)
    await runs.repeat([Timing(first_s=1.0)] * 25)
    outcome = await runs.ask(Timing(first_s=20.0))
    assert outcome.of(AgentSkipped) == []


async def test_an_agent_that_is_not_streamed_has_its_usual_total_time() -> None:
    runs = Runs()
    for _ in range(25):
        await runs.ask(Timing(first_s=2.0, tokens=20, gap_s=0.1), stream=False)
    assert _cuts([await runs.ask(Timing(first_s=2.0, tokens=23, gap_s=0.1), stream=False)]) == 0
    started = now()
    outcome = await runs.ask(Timing(first_s=60.0), stream=False)
    assert outcome.when(CombineStarted) - started < 6.0


# --- simulated distributions ---


def _steady(_: Random) -> Timing:
    return Timing(first_s=2.0, tokens=8, gap_s=0.1)


def _lognormal(random: Random) -> Timing:
    return Timing(random.lognormvariate(0.0, 0.5), int(random.lognormvariate(2.0, 0.4)) + 1, 0.05)


def _bimodal(random: Random) -> Timing:
    return Timing(first_s=0.4 if random.random() < 0.7 else 3.0, tokens=8, gap_s=0.02)


@pytest.mark.parametrize("draw", [_steady, _lognormal, _bimodal])
async def test_few_healthy_calls_are_cut_off(draw: Callable[[Random], Timing]) -> None:
    random = Random(7)
    outcomes = await Runs().repeat([draw(random) for _ in range(120)])
    assert _cuts(outcomes) <= 0.1 * 120


@pytest.mark.parametrize("draw", [_steady, _lognormal])
async def test_stalls_are_cut_off_quickly_however_rare(draw: Callable[[Random], Timing]) -> None:
    random, runs, stalled_s = Random(8), Runs(), []
    await runs.repeat([draw(random) for _ in range(40)])
    for _ in range(100):
        if random.random() < 0.08:
            stalled_s.append(await _wait_s(runs, Timing(first_s=60.0)))
        else:
            await runs.ask(draw(random))
    assert len(stalled_s) > 3
    assert max(stalled_s) < 6.0


async def test_after_a_deployment_a_slower_agent_is_learned_again() -> None:
    runs = Runs()
    await runs.repeat([Timing(first_s=0.5)] * 120)
    slower = [Timing(first_s=4.0)] * 60
    assert 0 < _cuts(await runs.repeat(slower)) < 40
    assert _cuts(await runs.repeat(slower)) == 0


async def test_an_agent_that_no_longer_responds_is_rarely_waited_for() -> None:
    runs = Runs()
    await runs.repeat([Timing(first_s=0.5)] * 40)
    waits = [await _wait_s(runs, Timing(first_s=600.0)) for _ in range(100)]
    assert sum(wait > 5.0 for wait in waits) <= 6
    assert _cuts(await runs.repeat([Timing(first_s=0.5)] * 40)) <= 20
    assert _cuts(await runs.repeat([Timing(first_s=0.5)] * 20)) == 0


async def test_a_cut_off_agent_is_missing_in_the_answer() -> None:
    runs = Runs()
    await runs.repeat([Timing(first_s=1.0)] * 25)
    outcome = await runs.ask(Timing(first_s=60.0))
    assert [(each.agent, each.code) for each in outcome.good.missing] == [("other", "straggler")]
    assert len(outcome.of(AgentFinished)) == 1


async def test_a_call_that_still_waits_for_a_limit_costs_nothing() -> None:
    texts = {"a": "An answer.", "b": "A late answer.", "c": "Never sent."}
    outcome = await play(
        {name: {"model": name} for name in "abc"},
        None,
        server=ScriptedTexts(texts, delays_s={"b": 30}),
        strategy="vote",
        straggler_grace_s=0.05,
        tables=f'\n[endpoints."{URL}"]\nparallel = 1\n',
    )
    skipped = {each.agent: each.report.usage for each in outcome.of(AgentSkipped)}
    assert outcome.server.asked_models() == ["a", "b"]
    assert skipped["b"].input_tokens > 0
    assert skipped["c"] == Usage()
