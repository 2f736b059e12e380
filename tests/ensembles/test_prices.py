"""Costs of usage at the prices of a model, and the highest cost of a call."""

from __future__ import annotations

import pytest

from service.domain import Usage
from service.ensembles.prices import Price


def test_a_price_is_per_million_tokens() -> None:
    assert Price(2.0, 8.0).cost_usd(Usage(1_000_000, 500_000)) == 6.0


@pytest.mark.parametrize(
    ("usage", "usd"),
    [
        (Usage(1_000_000, 0, cached_tokens=400_000), 6.4),
        (Usage(1_000_000, 0, image_tokens=500_000), 15.0),
        (Usage(1_000_000, 0, cached_tokens=400_000, image_tokens=900_000), 0.4 + 0.6 * 20),
        (Usage(0, 1_000_000, reasoning_tokens=250_000), 30 + 0.25 * 60),
        (Usage(0, 10, reasoning_tokens=20), 10 * 60 / 1e6),
    ],
)
def test_tokens_with_a_price_of_their_own_cost_that_price(usage: Usage, usd: float) -> None:
    price = Price(10.0, 40.0, cached_input=1.0, reasoning=60.0, image=20.0)
    assert price.cost_usd(usage) == pytest.approx(usd)


@pytest.mark.parametrize("part", [Usage(cached_tokens=400_000), Usage(image_tokens=400_000)])
def test_input_tokens_without_a_price_of_their_own_cost_as_much_as_others(part: Usage) -> None:
    assert Price(10.0, 0.0).cost_usd(Usage(1_000_000) + part) == 10.0


def test_costs_are_exact_and_round_up_to_a_billionth_of_a_dollar() -> None:
    assert Price(0.1, 0.2).cost_nano_usd(Usage(3, 0)) == 300
    assert Price(0.0375, 0.0).cost_nano_usd(Usage(1, 0)) == 38
    assert sum(Price(0.1, 0.7).cost_nano_usd(Usage(7, 9)) for _ in range(10_000)) == 70_000_000


def test_the_limit_of_a_call_takes_the_highest_price_of_each_kind() -> None:
    price = Price(10.0, 40.0, cached_input=12.0, reasoning=60.0, image=20.0)
    assert price.limit_nano_usd(100, 10, 1) == 100 * 12_000 + 10 * 20_000 + 60_000


@pytest.mark.parametrize("reasoning", [0, 7, 400])
def test_no_usage_within_the_counts_costs_more_than_the_limit(reasoning: int) -> None:
    price = Price(0.15, 0.6, cached_input=0.2, reasoning=0.9)
    limit = price.limit_nano_usd(1000, 0, 400)
    for cached in (0, 500, 1000):
        usage = Usage(1000, 400, cached_tokens=cached, reasoning_tokens=reasoning)
        assert price.cost_nano_usd(usage) <= limit
