"""The recent pace of agents, and the budget of their hedges."""

from __future__ import annotations

import pytest

from service.llm.endpoints.hedges import HedgeBudget, HedgeBudgets
from service.llm.endpoints.pace import AgentPace, AgentPaces


def _answer(pace: AgentPace, first_s: float = 0.5) -> None:
    pace.record_answer(first_s=first_s, end_s=first_s + 1.0, silence_s=0.1, tokens=11)


def test_an_answer_has_the_time_of_each_token_after_the_first() -> None:
    pace = AgentPace()
    for _ in range(20):
        _answer(pace)
    assert pace.token_s.find_limit() == pytest.approx(0.1)
    assert pace.tokens.find_limit() == 11


def test_an_answer_of_one_token_has_no_rate() -> None:
    pace = AgentPace()
    pace.record_answer(first_s=1.0, end_s=1.0, silence_s=None, tokens=1)
    assert (len(pace.first_token_s), len(pace.tokens), len(pace.token_s)) == (1, 0, 0)


def test_one_of_twenty_calls_of_a_suspect_agent_is_a_probe() -> None:
    pace = AgentPace()
    for _ in range(20):
        pace.first_token_s.record_unfinished()
    assert [number for number in range(1, 61) if pace.start_probe()] == [1, 21, 41]


def test_calls_of_an_agent_that_is_not_suspect_are_no_probes() -> None:
    pace = AgentPace()
    for _ in range(20):
        _answer(pace)
    assert not any(pace.start_probe() for _ in range(60))


def test_agents_models_and_servers_have_their_own_pace() -> None:
    paces = AgentPaces()
    keys = [("a", "http://x", "m"), ("b", "http://x", "m"), ("a", "http://y", "m")]
    keys += [("a", "http://x", "n")]
    assert len({id(paces.of(*key)) for key in keys}) == 4
    assert paces.of("a", "http://x", "m") is paces.of("a", "http://x", "m")


def test_repetitions_of_an_agent_share_its_pace() -> None:
    paces = AgentPaces()
    assert paces.of("a#1", "http://x", "m") is paces.of("a#2", "http://x", "m")


def test_the_number_of_paces_and_budgets_is_bounded() -> None:
    paces, budgets = AgentPaces(), HedgeBudgets()
    first, budget = paces.of("0", "http://x", "m"), budgets.of("http://0")
    for number in range(1, 600):
        paces.of(str(number), "http://x", "m")
        budgets.of(f"http://{number}")
    assert paces.of("0", "http://x", "m") is not first
    assert budgets.of("http://0") is not budget


# --- hedges ---


@pytest.mark.parametrize("ratio", [0.01, 0.05, 0.2, 1.0])
def test_hedges_are_never_more_than_the_ratio_of_the_calls(ratio: float) -> None:
    budget, hedges = HedgeBudget(), 0
    for calls in range(1, 1_000):
        budget.record_call(ratio)
        hedges += budget.withdraw(is_needed=True)
        assert hedges <= ratio * calls + 1e-6
    assert hedges > 0.9 * ratio * 1_000 - 2


def test_without_a_ratio_there_are_no_hedges() -> None:
    budget = HedgeBudget()
    for _ in range(1_000):
        budget.record_call(0.0)
        assert not budget.withdraw(is_needed=True)


def test_a_long_time_without_hedges_saves_twenty_of_them() -> None:
    budget = HedgeBudget()
    for _ in range(10_000):
        budget.record_call(0.05)
    assert sum(budget.withdraw(is_needed=True) for _ in range(100)) == 20


def test_the_last_five_hedges_are_for_calls_that_no_other_agent_can_replace() -> None:
    budget = HedgeBudget()
    for _ in range(10_000):
        budget.record_call(0.05)
    assert sum(budget.withdraw(is_needed=False) for _ in range(100)) == 15
    assert sum(budget.withdraw(is_needed=True) for _ in range(100)) == 5
