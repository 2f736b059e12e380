"""The reserved amounts of a run: shares of planned calls, returned rests, extensions, refusals."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from dataclasses import replace

import pytest

from service.domain import Message, Usage
from service.ensembles.agents import Agent
from service.ensembles.prices import Price
from service.errors import BudgetExceeded, UpstreamFailed
from service.llm.protocol import Call
from service.llm.reply import Reply
from service.llm.requests.learned import LearnedTraits
from service.llm.tokens.counter import TokenCounter
from service.strategies.spending.pool import ReservedSpending
from service.strategies.spending.worst_case import Amounts, WorstCases
from tests._support.llm.scripted import a_catalog, an_ensemble_file

PROMPT, OUTPUT = 9, 100  # of each call
MODEL, DEAR = "gpt-4o", "gpt-4o-2024"
PRICES = {MODEL: Price(1.0, 10.0), DEAR: Price(10.0, 100.0)}


def an_agent(name: str = "a") -> Agent:
    agents = {name: {"model": MODEL, "max_tokens": OUTPUT}}
    return a_catalog(an_ensemble_file(agents, None)).agents[name]


def a_call(model: str = MODEL) -> Call:
    return Call(
        model=model,
        base_url="http://models.test/v1",
        provider="models",
        messages=(Message("user", "Why?"),),
        max_tokens=OUTPUT,
        first_token_timeout_s=1,
        idle_timeout_s=1,
        timeout_s=1,
    )


def a_reply(usage: Usage | None = None) -> Reply:
    return replace(Reply.for_model("auto", MODEL), _usage=usage)


class Bank:
    """Extends reservations up to a limit of tokens, at 100 dollars per million, after a moment."""

    def __init__(self, limit: int = 0) -> None:
        self.left = limit
        self.extended: list[Amounts] = []

    async def extend(self, _agent: Agent, lack: Amounts) -> None:
        await asyncio.sleep(0.01)
        if lack.tokens > self.left or lack.nano_usd > self.left * 100_000:
            raise BudgetExceeded("No more.")
        self.left -= lack.tokens
        self.extended.append(lack)


def worst_cases() -> WorstCases:
    return WorstCases(TokenCounter(), LearnedTraits(), PRICES)


async def worst(call: Call | None = None) -> Amounts:
    return await worst_cases().of_call(an_agent(), call or a_call())


def spending(bank: Bank, *planned: Mapping[str, Amounts]) -> ReservedSpending:
    return ReservedSpending(worst_cases(), planned, bank.extend)


async def spend(pool: ReservedSpending, usage: Usage, agent: str = "a", model: str = MODEL) -> None:
    async with pool.call(an_agent(agent), a_call(model), a_reply(usage)):
        await asyncio.sleep(0)


async def test_a_planned_call_takes_its_share_without_an_extension() -> None:
    bank = Bank()
    pool = spending(bank, {"a": await worst()}, {"b": await worst()})
    await spend(pool, Usage(PROMPT, OUTPUT))
    await spend(pool, Usage(PROMPT, OUTPUT), "b")
    assert bank.extended == []


async def test_a_further_call_extends_the_reservation_by_what_it_lacks() -> None:
    bank, each = Bank(limit=1000), await worst()
    pool = spending(bank, {"a": each})
    await spend(pool, Usage(PROMPT, 60))
    await spend(pool, Usage(PROMPT, 60))
    assert bank.extended == [Amounts(PROMPT + 60, PROMPT * 1_000 + 60 * 10_000)]


async def test_the_share_of_a_later_step_is_not_given_to_a_retry() -> None:
    bank, each = Bank(), await worst()
    pool = spending(bank, {"a": each}, {"combine": each})
    await spend(pool, Usage(PROMPT, OUTPUT))
    with pytest.raises(BudgetExceeded):
        await spend(pool, Usage(PROMPT, 1))
    await spend(pool, Usage(PROMPT, OUTPUT), "combine")


async def test_a_refused_call_is_not_made_and_leaves_the_rest_to_others() -> None:
    bank, each = Bank(), await worst()
    pool = spending(bank, {"a": each + each})
    await spend(pool, Usage(PROMPT, 1))
    made: list[str] = []
    with pytest.raises(BudgetExceeded):
        async with pool.call(an_agent(), a_call(DEAR), a_reply()):
            made.append("never")  # the money is too little, not the tokens
    assert made == []
    await spend(pool, Usage(PROMPT, OUTPUT))
    assert bank.extended == []


async def test_calls_at_the_same_time_lack_only_their_own_part() -> None:
    bank, each = Bank(limit=10_000), await worst()
    pool = spending(bank)
    await asyncio.gather(*(spend(pool, Usage(PROMPT, OUTPUT)) for _ in range(20)))
    assert sum(lack.tokens for lack in bank.extended) == 20 * each.tokens


async def test_a_call_of_a_server_that_charged_more_is_paid_by_the_next_extension() -> None:
    bank, each = Bank(limit=10_000), await worst()
    pool = spending(bank, {"a": each})
    await spend(pool, Usage(PROMPT, OUTPUT + 500))
    await spend(pool, Usage(PROMPT, 1))
    assert bank.extended[0].tokens == each.tokens + 500


async def test_a_call_that_fails_returns_its_share() -> None:
    bank = Bank()
    pool = spending(bank, {"a": await worst()})
    with pytest.raises(UpstreamFailed):
        async with pool.call(an_agent(), a_call(), a_reply()):
            raise UpstreamFailed("Status 500.")
    await spend(pool, Usage(PROMPT, OUTPUT))
    assert bank.extended == []


async def test_a_cancelled_call_without_a_report_is_paid_by_an_estimate_if_it_was_sent() -> None:
    for was_sent in (True, False):
        bank, reply = Bank(limit=1000), a_reply()
        reply.was_sent = was_sent
        pool = spending(bank, {"a": await worst()})
        with pytest.raises(asyncio.CancelledError):
            async with pool.call(an_agent(), a_call(), reply):
                raise asyncio.CancelledError
        await spend(pool, Usage(PROMPT, OUTPUT))
        estimate = Usage.estimate(a_call().messages, "").total_tokens
        assert [lack.tokens for lack in bank.extended] == ([estimate] if was_sent else [])


async def test_random_calls_never_use_more_than_is_reserved() -> None:
    """The sum of usage, at any order of calls, stays within plan and extensions."""
    dice, each = random.Random(7), await worst()
    for _ in range(30):
        bank = Bank(limit=dice.randrange(0, 900))
        pool = spending(bank, {"a": each, "b": each}, {"c": each})
        used: list[int] = []

        async def try_call(pool: ReservedSpending, used: list[int]) -> None:
            usage = Usage(PROMPT, dice.randrange(0, OUTPUT))
            try:
                async with pool.call(an_agent(dice.choice("abc")), a_call(), a_reply(usage)):
                    await asyncio.sleep(dice.random() / 100)
                    used.append(usage.total_tokens)
            except BudgetExceeded:
                pass

        await asyncio.gather(*(try_call(pool, used) for _ in range(12)))
        extended = sum(lack.tokens for lack in bank.extended)
        assert sum(used) <= 3 * each.tokens + extended
