"""Exact tests against published values, Holm's correction, and verdicts."""

from __future__ import annotations

from random import Random

import pytest

from service.evaluation.statistics.comparison import Tally, measure_differences
from service.evaluation.statistics.exact_test import correct_by_holm, sign_test
from service.evaluation.statistics.percentiles import find_percentile


@pytest.mark.parametrize(
    ("wins", "losses", "p"),
    [
        (1, 7, 0.0703),  # Bentur et al., in https://doi.org/10.1186/1471-2288-13-91
        (150, 86, 3.716e-05),  # approval of the prime minister, Agresti 1990: R's binom.test
        (5, 0, 0.0625),
        (6, 0, 0.03125),
        (0, 0, 1.0),
        (4, 4, 1.0),
    ],
)
def test_the_exact_test_equals_published_values(wins: int, losses: int, p: float) -> None:
    assert sign_test(wins, losses) == pytest.approx(p, rel=1e-3)
    assert sign_test(losses, wins) == sign_test(wins, losses)


def test_the_exact_test_of_many_questions_is_computed() -> None:
    assert 0 < sign_test(10_200, 9_800) < 0.01


def test_holms_correction_equals_that_of_r() -> None:
    """p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm")"""
    assert correct_by_holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert correct_by_holm([0.9, 0.8]) == [1.0, 1.0]
    assert correct_by_holm([]) == []


@pytest.mark.parametrize(
    ("tally", "verdict"),
    [
        (Tally(12, 28, 0), "better"),
        (Tally(0, 28, 12), "worse"),
        (Tally(0, 40, 0), "no difference"),
        (Tally(5, 35, 0), "no difference"),
        (Tally(8, 25, 7), "no difference"),
        (Tally(), "no difference"),
        (Tally(0, 0, 0, undecided=40), "no difference"),
    ],
)
def test_a_difference_within_its_interval_is_none(tally: Tally, verdict: str) -> None:
    (difference,) = measure_differences([tally])
    assert difference.verdict == verdict
    assert difference.interval.low <= difference.value <= difference.interval.high


def test_the_same_result_is_no_difference_among_many_comparisons() -> None:
    single = measure_differences([Tally(9, 30, 1)])
    many = measure_differences([Tally(9, 30, 1), *[Tally(5, 30, 5)] * 9])
    assert single[0].verdict == "better"
    assert many[0].verdict == "no difference"


def test_equal_contestants_are_called_different_in_fewer_than_one_in_twenty_tables() -> None:
    random = Random("tables of three comparisons")
    false_claims = 0
    for _ in range(400):
        tallies = []
        for _ in range(3):
            draws = [random.random() for _ in range(40)]
            wins, losses = sum(d < 0.24 for d in draws), sum(d > 0.76 for d in draws)
            tallies.append(Tally(wins, 40 - wins - losses, losses))
        verdicts = {each.verdict for each in measure_differences(tallies)}
        false_claims += verdicts != {"no difference"}
    assert false_claims <= 20


def test_percentiles_are_interpolated() -> None:
    assert find_percentile([], 50) is None
    assert find_percentile([3.0], 95) == 3.0
    assert find_percentile([4.0, 1.0, 3.0, 2.0], 50) == 2.5
    assert find_percentile([float(n) for n in range(101)], 95) == 95.0
