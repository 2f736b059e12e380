"""Confidence intervals against published values, and their coverage."""

from __future__ import annotations

from random import Random

import pytest

from service.evaluation.statistics.intervals import Interval, paired_interval, wilson_interval


@pytest.mark.parametrize(
    ("count", "total", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_intervals_equal_those_of_newcombe_1998_table_1(
    count: int, total: int, low: float, high: float
) -> None:
    """Method 3 in https://doi.org/10.1002/(SICI)1097-0258(19980430)17:8<857::AID-SIM777>3.0.CO;2-E"""
    assert wilson_interval(count, total) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(
    ("wins", "losses", "total", "level", "low", "high"),
    [
        (28, 25, 618, 0.90, -0.0148, 0.0247),  # scoreci.mp(25, 28, 618, 0.9) of R's PropCIs 0.3
        (12, 2, 50, 0.95, 0.0611, 0.3447),  # Newcombe's worked example of Tango's method
    ],
)
def test_paired_intervals_equal_those_of_other_programs(
    wins: int, losses: int, total: int, level: float, low: float, high: float
) -> None:
    assert paired_interval(wins, losses, total, level) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(
    ("wins", "losses", "total"), [(1, 7, 21), (6, 16, 161), (0, 3, 9), (5, 5, 10)]
)
def test_a_paired_interval_mirrors_when_the_contestants_swap(
    wins: int, losses: int, total: int
) -> None:
    low, high = paired_interval(wins, losses, total)
    assert paired_interval(losses, wins, total) == pytest.approx((-high, -low), abs=1e-9)
    assert low < (wins - losses) / total < high


@pytest.mark.parametrize("total", [1, 2, 40, 100_000])
def test_an_interval_without_any_difference_has_a_width_and_contains_zero(total: int) -> None:
    interval = paired_interval(0, 0, total)
    assert -1 <= interval.low < 0 < interval.high <= 1


@pytest.mark.parametrize("total", [1, 2, 40, 100_000])
def test_an_interval_of_wins_alone_ends_at_one(total: int) -> None:
    low, high = paired_interval(total, 0, total)
    assert high == 1.0
    assert low < 1.0
    assert paired_interval(0, total, total).low == -1.0


def test_without_data_everything_is_possible() -> None:
    assert wilson_interval(0, 0) == Interval(0.0, 1.0)
    assert paired_interval(0, 0, 0) == Interval(-1.0, 1.0)


@pytest.mark.parametrize(("p", "total"), [(0.6, 40), (0.95, 40), (0.5, 200)])
def test_wilson_intervals_cover_the_truth_about_as_often_as_they_state(
    p: float, total: int
) -> None:
    random = Random(f"wilson {p} {total}")
    counts = (sum(random.random() < p for _ in range(total)) for _ in range(1000))
    covered = sum(not wilson_interval(count, total).excludes(p) for count in counts)
    assert covered >= 930


@pytest.mark.parametrize(("p_win", "p_loss"), [(0.2, 0.2), (0.3, 0.1), (0.05, 0.05)])
def test_paired_intervals_cover_the_truth_about_as_often_as_they_state(
    p_win: float, p_loss: float
) -> None:
    random = Random(f"paired {p_win} {p_loss}")
    covered = 0
    for _ in range(500):
        draws = [random.random() for _ in range(40)]
        wins = sum(draw < p_win for draw in draws)
        losses = sum(p_win <= draw < p_win + p_loss for draw in draws)
        covered += not paired_interval(wins, losses, 40).excludes(p_win - p_loss)
    assert covered >= 460
