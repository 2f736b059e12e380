"""The sliding window of a limit."""

from __future__ import annotations

import random

from service.llm.endpoints.window import WINDOW_S, SlidingWindow


def test_no_60_seconds_ever_exceed_the_limit() -> None:
    chosen, window, now = random.Random(3), SlidingWindow(), 1_000.0
    uses: list[tuple[float, int]] = []
    for _ in range(3_000):
        now += chosen.expovariate(2)
        amount = chosen.randint(1, 5)
        if window.find_free_at(now, amount, 40) <= now:
            window.add(now, amount)
            uses.append((now, amount))
    for at, _ in uses:
        assert sum(amount for moment, amount in uses if at - WINDOW_S < moment <= at) <= 40
    assert sum(amount for _, amount in uses) > 0.9 * 40 / WINDOW_S * (now - 1_000)


def test_a_refused_use_fits_at_the_stated_moment_and_not_long_before() -> None:
    window = SlidingWindow()
    for second in range(10):
        window.add(float(second), 1)
    at = window.find_free_at(9.5, 3, 10)
    assert 62.0 <= at <= 62.2
    assert window.find_free_at(at - 0.25, 3, 10) == at
    assert window.find_free_at(at, 3, 10) == at


def test_an_amount_above_the_limit_is_free_when_the_window_is_empty() -> None:
    window = SlidingWindow()
    assert window.find_free_at(5.0, 100, 10) == 5.0
    window.add(5.0, 100)
    assert window.find_free_at(5.0, 1, 10) > 5.0 + WINDOW_S - 0.2


def test_a_correction_applies_to_the_moment_of_the_use() -> None:
    window = SlidingWindow()
    use = window.add(0.0, 1_000)
    window.correct(50.0, use, -600)
    assert window.used(50.0) == 400
    assert window.used(61.0) == 0
    window.correct(61.0, use, -400)  # it has left the window
    assert window.used(61.0) == 0
