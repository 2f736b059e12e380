"""The budget of an evaluation: reservations never exceed it, and returned money is used."""

from __future__ import annotations

import asyncio

import pytest

from service.evaluation.running.money import Money


async def test_without_a_limit_every_run_starts() -> None:
    money = Money(None, 0)
    taken = await money.take(10**12)
    assert taken is not None
    assert taken.limit_usd is None
    taken.cost_nano = 7
    await money.settle(taken)
    assert money.spent_nano == 7


async def test_a_run_whose_worst_case_exceeds_the_rest_does_not_start() -> None:
    money = Money(100, 60)
    assert await money.take(41) is None
    assert await money.take(40) is not None


@pytest.mark.parametrize("seed", range(5))
async def test_runs_at_the_same_time_never_reserve_more_than_the_limit(seed: int) -> None:
    money = Money(100, 0)
    reserved = most = started = 0

    async def run(number: int) -> None:
        nonlocal reserved, most, started
        worst = 10 + (number * 7 + seed) % 20
        taken = await money.take(worst)
        if taken is None:
            return
        started += 1
        assert taken.limit_nano is not None
        assert taken.limit_nano >= worst
        reserved += taken.limit_nano
        most = max(most, reserved + money.spent_nano)
        await asyncio.sleep(0)
        reserved -= taken.limit_nano
        taken.cost_nano = worst // 3
        await money.settle(taken)

    async with asyncio.timeout(60):
        await asyncio.gather(*(run(number) for number in range(30)))
    assert most <= 100
    assert money.spent_nano <= 100
    assert started > 5  # more than without the money that earlier runs returned
