"""The agent that may be dropped: bad, failing and slow ones are named, and none of equal ones."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping

import pytest

from service.evaluation.agents.decision import DropDecision, decide
from service.evaluation.agents.tally import EnsembleTally
from tests._support.runs.agent_runs import SimulatedAgent, simulate_run

_GOOD = SimulatedAgent()
_SEEDS = int(os.environ.get("AGENT_SEEDS", "10"))
_RUNS = 120

Agents = Mapping[str, SimulatedAgent]


def _decide(strategy: str, agents: Agents, seed: int, runs: int = _RUNS) -> DropDecision:
    chance, tally = random.Random(seed), EnsembleTally("ensemble")
    for _ in range(runs):
        tally.add(simulate_run(strategy, agents, chance))
    return decide(tally)


def _with(odd: SimulatedAgent) -> Agents:
    return {"good-1": _GOOD, "good-2": _GOOD, "odd": odd, "good-3": _GOOD}


@pytest.mark.parametrize(
    ("strategy", "odd", "reason"),
    [
        ("vote", SimulatedAgent(skill=0.0), "unused"),
        ("best_of", SimulatedAgent(skill=0.0), "unused"),
        ("synthesize", SimulatedAgent(skill=0.0), "unused"),
        ("vote", SimulatedAgent(failing=1.0), "unused"),
        ("best_of", SimulatedAgent(failing=1.0), "unused"),
        ("synthesize", SimulatedAgent(failing=1.0), "unused"),
        ("council", SimulatedAgent(failing=1.0), "unused"),
        ("layers", SimulatedAgent(failing=1.0), "unused"),
        ("council", SimulatedAgent(seconds=9.0), "slow"),
    ],
)
def test_an_agent_that_is_always_wrong_failing_or_slow_is_named(
    strategy: str, odd: SimulatedAgent, reason: str
) -> None:
    decisions = [_decide(strategy, _with(odd), seed) for seed in range(_SEEDS)]
    named = [each for each in decisions if each.agent == "odd" and reason in each.reasons]
    assert len(named) >= 0.95 * _SEEDS, [each.text for each in decisions if each not in named]
    assert f"(n = {_RUNS})" in named[0].text


@pytest.mark.parametrize("strategy", ["vote", "best_of", "synthesize", "council"])
@pytest.mark.parametrize("skill", [0.6, 0.98])
def test_of_equal_agents_none_is_named(strategy: str, skill: float) -> None:
    agents = {f"agent-{number}": SimulatedAgent(skill=skill, failing=0.05) for number in range(4)}
    decisions = [_decide(strategy, agents, seed) for seed in range(_SEEDS)]
    named = [each.text for each in decisions if each.agent]
    assert len(named) <= 0.05 * _SEEDS, named
    assert all("on this evidence (n = " in each.text for each in decisions if not each.agent)


def test_a_slow_agent_on_which_answers_depend_is_not_named() -> None:
    agents = {
        "slow": SimulatedAgent(skill=1.0, seconds=9.0),
        "one": SimulatedAgent(skill=0.3),
        "other": SimulatedAgent(skill=0.3),
    }
    assert "slow" not in [_decide("synthesize", agents, seed).agent for seed in range(_SEEDS)]


def test_weaker_agents_that_break_ties_are_not_named() -> None:
    agents = {
        "best": SimulatedAgent(skill=0.9),
        **dict.fromkeys(("b", "c"), SimulatedAgent(skill=0.6)),
    }
    named = [_decide("vote", agents, seed).agent for seed in range(_SEEDS)]
    assert named.count(None) >= 0.95 * _SEEDS


def test_few_runs_are_stated_as_few() -> None:
    decision = _decide("vote", _with(SimulatedAgent(skill=0.0)), 1, runs=8)
    assert decision.agent is None
    assert "(n = 8): these are too few answers" in decision.text


def test_of_two_bad_agents_the_worse_one_is_named_first_and_the_other_mentioned() -> None:
    agents = {"good-1": _GOOD, "good-2": _GOOD, "bad": SimulatedAgent(failing=0.97)}
    agents |= {"dead": SimulatedAgent(failing=1.0)}
    decision = _decide("best_of", agents, 3)
    assert decision.agent == "dead"
    assert "The same holds for bad; drop one at a time." in decision.text


def test_a_single_agent_has_nothing_to_be_compared_with() -> None:
    assert _decide("solo", {"only": _GOOD}, 1).agent is None
