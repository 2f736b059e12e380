"""The part of an agent in one answer, the answer without it, and what is not counted."""

from __future__ import annotations

import pytest

from service.evaluation.agents.parts import find_parts
from service.evaluation.agents.sketch import PercentileSketch
from service.evaluation.agents.tally import EnsembleTally
from service.events.findings import RACE_LOST
from service.store.agents.records import (
    AgentOutcome,
    CallReport,
    RunFindings,
    RunPart,
    RunRank,
    RunVote,
    RunVotes,
)
from tests._support.runs.agent_runs import make_outcome, make_run_outcome


def _changes(strategy: str, findings: RunFindings, answered_by: str | None = None) -> str:
    """Return the changes without the agents a, b and c, as their first letters."""
    agents = [make_outcome(name) for name in ("a", "b", "c")]
    run = make_run_outcome(strategy, agents, findings, answered_by=answered_by)
    return " ".join(part.change[0] for part in find_parts(run).values())


def _vote(*groups: str) -> RunFindings:
    return RunFindings(votes=RunVotes(tuple(RunVote(tuple(each)) for each in groups)))


@pytest.mark.parametrize(
    ("groups", "answered_by", "expected"),
    [
        (("abc",), "a", "s s s"),
        (("ab", "c"), "a", "t t s"),
        (("a", "b", "c"), "a", "c s s"),
        (("a", "b", "c"), "b", "s c s"),  # a judge has decided
        (("ab",), "a", "s s s"),
    ],
)
def test_votes_are_counted_again(groups: tuple[str, ...], answered_by: str, expected: str) -> None:
    assert _changes("vote", _vote(*groups), answered_by) == expected


def test_without_the_best_agent_the_next_one_is_sent() -> None:
    ranking = RunFindings(ranking=(RunRank("b", 9.0), RunRank("a", 3.0)))
    assert _changes("best_of", ranking) == "s c s"
    assert _changes("council", ranking) == "u u u"


def test_a_combined_answer_changes_where_it_rests_on_one_agent_alone() -> None:
    parts = RunFindings(provenance=(RunPart(0, 9, ("a", "b")), RunPart(9, 20, ("b",))))
    assert _changes("synthesize", parts) == "s c s"
    assert _changes("synthesize", RunFindings()) == "u u u"


def test_lost_races_are_no_failures_and_reused_answers_are_not_calls() -> None:
    lost = AgentOutcome("b", "skipped", RACE_LOST, CallReport(cost=0.5), has_text=False)
    tally = EnsembleTally("race")
    tally.add(make_run_outcome("race", [make_outcome("a", reused=True), lost], answered_by="a"))
    assert tally.agents["a"].calls == 0
    assert (tally.agents["b"].calls, tally.agents["b"].failed) == (1, 0)
    assert tally.agents["b"].wasted_usd == 0.5
    assert (tally.agents["a"].has_part, tally.agents["b"].has_part) == (1, 0)


def test_replaced_and_failed_runs_have_calls_and_no_answer() -> None:
    tally, agents = EnsembleTally("vote"), [make_outcome("a"), make_outcome("b", "failed")]
    tally.add(make_run_outcome("vote", agents, is_replaced=True))
    tally.add(make_run_outcome("vote", agents, state="failed"))
    assert (tally.runs, tally.answers, tally.failed_runs) == (2, 0, 1)
    assert (tally.agents["a"].calls, tally.agents["b"].failures) == (2, {"upstream_failed": 2})


def test_percentiles_are_exact_to_one_percent() -> None:
    sketch = PercentileSketch()
    for value in range(1, 10_001):
        sketch.add(float(value))
    for percent, expected in ((50, 5_000), (95, 9_500)):
        found = sketch.find(percent)
        assert found is not None
        assert found.value == pytest.approx(expected, rel=0.011)
        assert found.interval.low < expected < found.interval.high
    assert PercentileSketch().find(50) is None
