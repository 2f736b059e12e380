"""The complete statistics on the mock's skills: the truth is known."""

from __future__ import annotations

from collections import Counter
from functools import cache

from service.evaluation.comparing.tables import compare_contestants
from service.evaluation.questions.sample import read_sample
from tests._support.evaluation.mock_evaluations import MockEnsemble, evaluate_mock

SEEDS = 100
NEEDED = 95

_FIVE = [f"mock-{letter}?skill=0.5" for letter in "abcde"]
_ENSEMBLES = [
    # Of five members with 50 %, nearly always one is right, and this combiner finds it: 97 %.
    MockEnsemble("stronger", _FIVE, "mock?combine=right"),
    # These combiners answer by their own skill, whatever they are sent.
    MockEnsemble("equal", _FIVE, "mock-equal?skill=0.5"),
    MockEnsemble("weaker", ["mock-x?skill=0.95"], "mock-w?skill=0.35"),
]


@cache
def _collect_verdicts() -> dict[str, Counter[str]]:
    """Return the verdicts of all seeds: against the best member, and between ensembles."""
    questions = [each for each in read_sample() if not each.is_judged]
    verdicts: dict[str, Counter[str]] = {}
    for seed in range(SEEDS):
        best_member, _, ensembles = compare_contestants(evaluate_mock(questions, _ENSEMBLES, seed))
        for row in best_member.rows:
            verdicts.setdefault(row.contestant, Counter())[row.difference.verdict] += 1
        for row in ensembles.rows:
            name = f"{row.contestant} - {row.opponent}"
            verdicts.setdefault(name, Counter())[row.difference.verdict] += 1
    return verdicts


def test_the_stronger_strategy_wins_in_95_of_100_seeds() -> None:
    assert _collect_verdicts()["stronger"]["better"] >= NEEDED
    assert _collect_verdicts()["stronger - equal"]["better"] >= NEEDED


def test_equal_strategies_are_called_equal_in_95_of_100_seeds() -> None:
    assert _collect_verdicts()["equal"]["no difference"] >= NEEDED


def test_the_weaker_strategy_loses_in_95_of_100_seeds() -> None:
    assert _collect_verdicts()["weaker"]["worse"] >= NEEDED


def test_no_seed_calls_the_weaker_strategy_better() -> None:
    verdicts = _collect_verdicts()
    assert not verdicts["weaker"]["better"]
    assert not verdicts["stronger"]["worse"]
