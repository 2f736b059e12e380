"""The exact sign test of paired results, and Holm's correction for several tests."""

from __future__ import annotations

from collections.abc import Sequence


def sign_test(wins: int, losses: int) -> float:
    """Return the two-sided p-value of the exact sign test, which is McNemar's exact test.

    It never exceeds its level, and is conservative. Ties do not count.
    Source: McNemar 1947, https://doi.org/10.1007/BF02295996; formula in Fagerland, Lydersen, Laake
    2013, https://doi.org/10.1186/1471-2288-13-91
    """
    total, tail, ways = wins + losses, 0, 1
    for count in range(min(wins, losses) + 1):
        tail += ways  # of getting `count` of `total`
        ways = ways * (total - count) // (count + 1)
    return min(1.0, 2 * tail / (1 << total))


def correct_by_holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values, corrected for their number, in their order.

    The chance that any of several equal pairs is called different is at most the level.
    Source: Holm 1979, https://www.jstor.org/stable/4615733
    """
    corrected = [0.0] * len(p_values)
    largest = 0.0
    order = sorted(range(len(p_values)), key=lambda at: p_values[at])
    for rank, at in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[at]))
        corrected[at] = largest
    return corrected
