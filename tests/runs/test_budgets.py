"""Budgets of runs: refused before a model is called, settled at any end, extended by retries."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from service.access.principal import ANONYMOUS
from service.errors import RequestError
from service.events import AgentFailed, RunFailed
from service.limits.parsing import parse_rules
from service.limits.rules import Rules
from service.runs.stop_reasons import CANCELLED
from tests._support.llm.scripted import a_catalog, an_ensemble_file, model
from tests._support.runs.memory_store import Memory
from tests._support.runs.service import Service, ended, failed, service

TOKENS = 40  # of each answer, and the most that a request asks for


def agents(**faults: Mapping[str, Any]) -> dict[str, Any]:
    made: dict[str, Mapping[str, Any]] = {"a": {}, "b": {}} | faults
    return {
        name: {"model": model(name, **{"tokens": TOKENS, **fields}), "max_tokens": TOKENS}
        for name, fields in made.items()
    }


COMBINER = {"model": model("combine", tokens=TOKENS), "max_tokens": TOKENS}


def rules(*, tokens: int | None = None, usd: str | None = None) -> Callable[[], Rules]:
    """Return a function that returns rules, as runs call it."""
    lines = ["[[rules]]", 'name = "small"']
    lines += [f'tokens = "{tokens}/day"'] if tokens else []
    lines += [f'cost_usd = "{usd}/day"'] if usd else []
    parsed = parse_rules("\n".join(lines), source="limits.toml")
    return lambda: parsed


def amounts(memory: Memory) -> tuple[int, int]:
    """Return what is spent and reserved of the only budget."""
    (balance,) = memory.tables.ledger.balances.values()
    return balance.spent, balance.reserved


async def refusal(it: Service) -> RequestError:
    with pytest.raises(RequestError) as caught:
        await it.start()
    return caught.value


async def test_a_run_reserves_its_worst_case_and_is_settled_with_its_usage() -> None:
    async with service(agents(), COMBINER, rules=rules(tokens=100_000)) as it:
        run = await it.start()
        spent, reserved = amounts(it.memory)
        assert spent == 0
        assert reserved > 3 * TOKENS
        await it.read(run)
        final = await ended(run)
        assert amounts(it.memory) == (final.usage.total_tokens, 0)
        (state,) = run.budgets
        assert state.remaining == 100_000 - reserved


async def test_a_run_beyond_its_budget_calls_no_model_and_is_not_stored() -> None:
    async with service(agents(), COMBINER, rules=rules(tokens=100)) as it:
        error = await refusal(it)
        assert error.code == "rate_limited"
        assert "100 tokens remain of 100 tokens per day of the rule small" in error.message
        assert int(error.headers["Retry-After"]) <= 86_400
        assert it.server.asked_models() == []
        assert it.memory.tables.runs == {}
        assert not it.memory.tables.ledger.held


async def test_money_is_refused_with_the_estimate_and_the_remaining_amount() -> None:
    text = an_ensemble_file(agents(), COMBINER, [agents()["a"]["model"]])  # a dollar a token
    async with service(catalog=a_catalog(text), rules=rules(usd="12.50")) as it:
        error = await refusal(it)
        assert error.code == "budget_exceeded"
        assert "This run can use up to $" in error.message
        assert "$12.50 remain of $12.50 per day of the rule small" in error.message


CODES = {
    "cancelled": "cancelled",
    "abandoned": "abandoned",
    "failed": "too_few_answers",
    "timed out": "run_timeout",
    "drained": "shutting_down",
}


@pytest.mark.parametrize("end", CODES)
async def test_every_end_of_a_run_settles_it(end: str) -> None:
    fault = {"fault": "status"} if end == "failed" else {"fault": "stall", "after": 5}
    timeout: dict[str, Any] = {"timeout_s": 3} if end == "timed out" else {}
    made, patience = agents(a={}, b=fault), {"detach_grace_s": 1.0}
    many = rules(tokens=100_000)
    async with service(made, COMBINER, rules=many, limits=patience, min_answers=2, **timeout) as it:
        run = await it.start()
        await asyncio.sleep(2)  # for the first answer
        if end == "cancelled":
            run.stop(CANCELLED)
        elif end == "drained":
            await it.runs.drain(0.1)
        final = await failed(run)
        assert final.code == CODES[end]
        assert await it.journal.settle(30)
        assert final.usage.total_tokens > TOKENS
        assert amounts(it.memory) == (final.usage.total_tokens, 0)


async def test_a_run_that_could_not_be_stored_reserves_nothing() -> None:
    async with service(agents(), COMBINER, rules=rules(tokens=100_000)) as it:
        it.memory.writing.confirms = False  # the commit happens, but its reply is lost
        with pytest.raises(Exception, match="broke"):
            await it.start()
        it.memory.writing.confirms = True
        assert await it.journal.settle(30)
        await asyncio.sleep(2)
        assert amounts(it.memory) == (0, 0)


async def test_a_caller_that_leaves_while_its_run_is_stored_reserves_nothing() -> None:
    async with service(agents(), COMBINER, rules=rules(tokens=100_000)) as it:
        it.memory.writing.delay_s = 1
        start = asyncio.create_task(it.start())
        await asyncio.sleep(0.5)
        start.cancel()
        await asyncio.wait([start])
        await asyncio.sleep(5)
        assert await it.journal.settle(30)
        assert sum(each.reserved for each in it.memory.tables.ledger.balances.values()) == 0


async def test_an_outage_during_a_run_delays_its_settlement() -> None:
    async with service(agents(), COMBINER, rules=rules(tokens=100_000)) as it:
        run = await it.start()
        it.memory.writing.shut()
        await it.read(run)
        assert amounts(it.memory)[0] == 0
        it.memory.writing.reopen()
        assert await it.journal.settle(30)
        assert amounts(it.memory) == ((await ended(run)).usage.total_tokens, 0)


async def test_a_retry_beyond_the_reservation_extends_it() -> None:
    flaky = {"fault": "cut", "after": 3, "times": 1}
    solo = {"a": {**agents(a=flaky)["a"], "retries": 2}}
    async with service(solo, None, rules=rules(tokens=100_000)) as it:
        run = await it.start()
        _, reserved = amounts(it.memory)
        await it.read(run)
        final = await ended(run)
        assert len(it.server.asked_models()) >= 1
        assert amounts(it.memory) == (final.usage.total_tokens, 0)
        assert reserved


async def test_a_fallback_that_costs_more_than_is_left_is_not_called() -> None:
    dear = model("dear", tokens=TOKENS)
    solo = {"a": {**agents(a={"fault": "status"})["a"], "fallbacks": [dear], "retries": 0}}
    text = an_ensemble_file(solo, None, [dear])
    async with service(catalog=a_catalog(text), rules=rules(usd="5")) as it:
        run = await it.start()
        final = await failed(run)
        assert final.code == "budget_exceeded"
        assert "a was not called: this call can use up to $" in final.message
        assert dear.partition("?")[0] not in it.server.asked_models()
        (event,) = [each for each in run.log.after(0) if isinstance(each, AgentFailed)]
        assert event.code == "budget_exceeded"
        assert await it.journal.settle(30)
        assert amounts(it.memory) == (0, 0)


async def test_a_fallback_that_costs_more_extends_the_reservation() -> None:
    dear = model("dear", tokens=TOKENS)
    solo = {"a": {**agents(a={"fault": "status"})["a"], "fallbacks": [dear], "retries": 0}}
    text = an_ensemble_file(solo, None, [dear])
    async with service(catalog=a_catalog(text), rules=rules(usd="5000")) as it:
        run = await it.finish()
        final = await ended(run)
        assert final.cost
        assert amounts(it.memory) == (round(final.cost * 1e9), 0)


async def test_a_fallback_is_not_called_while_the_budget_cannot_be_read() -> None:
    dear = model("dear", tokens=TOKENS)
    failing = {"fault": "status", "first_ms": 1}
    solo = {"a": {**agents(a=failing)["a"], "fallbacks": [dear], "retries": 0}}
    text = an_ensemble_file(solo, None, [dear])
    async with service(catalog=a_catalog(text), rules=rules(usd="5000")) as it:
        run = await it.start()
        it.memory.writing.shut()
        final = await failed(run)
        assert "its budget cannot be read" in final.message
        it.memory.writing.reopen()


async def test_the_answers_that_a_retry_reuses_are_not_reserved() -> None:
    broken = {"model": model("combine", fault="reset", after=2), "max_tokens": TOKENS}
    async with service(agents(), broken, rules=rules(tokens=100_000)) as it:
        first = await it.start()
        _, whole = amounts(it.memory)
        await failed(first)
        assert await it.journal.settle(30)
        spent, _ = amounts(it.memory)
        second = await it.runs.retry(first.id, ANONYMOUS)
        assert amounts(it.memory)[0] == spent
        assert amounts(it.memory)[1] <= whole - 2 * TOKENS
        await it.read(second)


async def test_a_killed_process_is_charged_for_its_calls_in_progress_alone() -> None:
    """The agents were called, the combiner was not: its part is released."""
    stalling = agents(a={"fault": "stall"}, b={"fault": "stall"})
    async with service(stalling, COMBINER, rules=rules(tokens=100_000)) as dead:
        run = await dead.start()
        await asyncio.sleep(1)
        _, reserved = amounts(dead.memory)
        (reservation,) = dead.memory.tables.ledger.held[run.id]
        first, second = reservation.steps
        dead.spool.abandon()
        async with service(stalling, COMBINER, beside=dead) as other:
            await other.recovery.recover_stale_workers()
            assert amounts(other.memory) == (sum(first.values()), 0)
            assert reserved == sum(first.values()) + sum(second.values())
        dead.spool.open()


async def test_a_rule_that_was_removed_does_not_keep_a_running_run_from_its_settlement() -> None:
    current: list[Callable[[], Rules]] = [rules(tokens=100_000)]
    async with service(agents(), COMBINER, rules=lambda: current[0]()) as it:
        run = await it.start()
        current[0] = Rules
        free = await it.start()
        await it.read(run)
        await it.read(free)
        assert await it.journal.settle(30)
        assert amounts(it.memory) == ((await ended(run)).usage.total_tokens, 0)


async def test_a_run_that_can_exceed_the_cap_of_its_ensemble_is_refused() -> None:
    text = an_ensemble_file(agents(), COMBINER, [agents()["a"]["model"]], max_cost_usd=20)
    async with service(catalog=a_catalog(text)) as it:
        error = await refusal(it)
        assert error.code == "budget_exceeded"
        assert "max_cost_usd of fanout is $20" in error.message
        assert it.server.asked_models() == []


async def test_a_call_beyond_the_cap_of_its_ensemble_is_not_made() -> None:
    dear = model("dear", tokens=TOKENS)
    solo = {"a": {**agents(a={"fault": "status"})["a"], "fallbacks": [dear], "retries": 0}}
    text = an_ensemble_file(solo, None, [dear], max_cost_usd=20)
    async with service(catalog=a_catalog(text)) as it:
        final = await failed(await it.start())
        assert isinstance(final, RunFailed)
        assert "cost limit of $20.00 of its ensemble" in final.message


async def test_runs_without_a_limit_reserve_nothing_and_count_no_tokens() -> None:
    async with service(agents(), COMBINER) as it:
        run = await it.finish()
        assert run.budgets == ()
        assert it.memory.tables.ledger.balances == {}
        assert not it.tools.tokens._known
