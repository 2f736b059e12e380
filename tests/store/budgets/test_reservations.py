"""Reservations of runs: made with their opening, settled with their end, in any order of faults."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from service.domain import Usage
from service.store.budgets.budgets import RETENTION, Budgets
from service.store.budgets.records import (
    BudgetDemand,
    BudgetGrant,
    BudgetKey,
    BudgetShortage,
    BudgetState,
    BudgetUnit,
    Interruption,
)
from service.store.conversations import Conversations
from service.store.journal.batch import Batch
from service.store.records import NewRun
from service.store.workers import WorkerBeat
from tests._support.runs.store_records import NOW, Parts, make_key, make_run, make_run_end

DAY = datetime(2026, 3, 14, tzinfo=UTC)
ONE_CALL = ({"a": 100},)
FAN_OUT = ({"a": 100, "b": 100}, {"combine": 50})


def demand(
    limit: int = 1000,
    steps: Any = ONE_CALL,
    unit: BudgetUnit = "tokens",
    start: datetime = DAY,
    subject: str = "user:1",
) -> BudgetDemand:
    key = BudgetKey("daily/day", subject, unit, start)
    return BudgetDemand(key=key, limit=limit, period_end=start + timedelta(days=1), steps=steps)


async def balance(parts: Parts, of: BudgetDemand | None = None) -> tuple[int, int]:
    """Return the spent and the reserved amount of a budget."""
    one = of or demand()
    state = BudgetState(key=one.key, limit=one.limit, period_end=one.period_end)
    (found,) = await Budgets(parts.database).read([state])
    return found.spent, found.reserved


async def open_run(parts: Parts, *demands: BudgetDemand, **fields: Any) -> NewRun:
    run = make_run(demands=demands or (demand(),), **fields)
    written = await parts.journal.write(Batch(openings=[run]))
    assert isinstance(written.budgets[run.run_id], BudgetGrant)
    return run


async def end(parts: Parts, run: NewRun, **fields: Any) -> None:
    values: dict[str, Any] = {"usage": Usage(30, 40), "cost_usd": 0.001, "is_reserved": True}
    await parts.journal.write(Batch(endings=[make_run_end(run, **values | fields)]))


async def test_the_end_of_a_run_books_its_usage_and_releases_the_rest(parts: Parts) -> None:
    run = await open_run(parts)
    assert await balance(parts) == (0, 100)
    await end(parts, run)
    assert await balance(parts) == (70, 0)


async def test_money_is_booked_in_billionths_of_a_dollar(parts: Parts) -> None:
    money = demand(10**9, ({"a": 5_000_000},), "nano_usd")
    run = await open_run(parts, money, demand())
    await end(parts, run, cost_usd=0.000_000_123)
    assert await balance(parts, money) == (123, 0)
    assert await balance(parts) == (70, 0)


async def test_more_than_the_reservation_is_booked_when_a_server_charged_more(parts: Parts) -> None:
    run = await open_run(parts)
    await end(parts, run, usage=Usage(500, 400))
    assert await balance(parts) == (900, 0)
    refused = make_run(demands=[demand(steps=({"a": 101},))])
    written = await parts.journal.write(Batch(openings=[refused]))
    assert isinstance(written.budgets[refused.run_id], BudgetShortage)


async def test_a_refused_run_is_not_written_and_the_others_of_its_commit_are(parts: Parts) -> None:
    runs = [make_run(demands=[demand(limit=250)]) for _ in range(4)]
    free = make_run()
    written = await parts.journal.write(Batch(openings=[*runs, free]))
    stored = [await parts.runs.get("me", each.run_id) for each in (*runs, free)]
    assert [each is not None for each in stored] == [True, True, False, False, True]
    shortage = written.get_result(runs[2].run_id)
    assert isinstance(shortage, BudgetShortage)
    assert (shortage.demanded, shortage.state.remaining, shortage.state.reserved) == (100, 50, 200)
    assert await balance(parts) == (0, 200)


async def test_a_refused_run_takes_no_key_and_no_place_of_another(parts: Parts) -> None:
    failed = await parts.finish_run()
    refused = make_run(demands=[demand(limit=1)], key=make_key(), retry_of=failed.run_id)
    second = make_run(key=make_key(), retry_of=failed.run_id)
    written = await parts.journal.write(Batch(openings=[refused, second]))
    assert written.conflicts == {}
    assert await parts.runs.get("me", second.run_id) is not None


async def test_all_budgets_of_a_run_are_reserved_or_none(parts: Parts) -> None:
    small = demand(limit=99, subject="key:1")
    run = make_run(demands=[demand(), small])
    written = await parts.journal.write(Batch(openings=[run]))
    assert isinstance(written.get_result(run.run_id), BudgetShortage)
    assert await balance(parts) == await balance(parts, small) == (0, 0)


async def test_an_opening_that_is_written_twice_is_reserved_once(parts: Parts) -> None:
    run = await open_run(parts)
    written = await parts.journal.write(Batch(openings=[run]))
    assert isinstance(written.get_result(run.run_id), BudgetGrant)
    assert await balance(parts) == (0, 100)


async def test_an_end_that_is_written_twice_is_booked_once(parts: Parts) -> None:
    run = await open_run(parts)
    await end(parts, run)
    await end(parts, run)
    assert await balance(parts) == (70, 0)


async def test_a_run_whose_caller_had_left_releases_everything(parts: Parts) -> None:
    run = await open_run(parts)
    await parts.journal.write(Batch(dropped=[run.run_id]))
    assert await balance(parts) == (0, 0)


async def test_a_run_that_was_deleted_is_settled_by_its_end(parts: Parts) -> None:
    run = await open_run(parts)
    assert await Conversations(parts.database).delete("me", run.ask.conversation_id)
    assert await balance(parts) == (0, 100)
    await end(parts, run)
    assert await balance(parts) == (70, 0)


async def test_a_run_that_was_taken_over_is_settled_by_the_taker_alone(parts: Parts) -> None:
    await parts.workers.register("worker", 15.0)
    run = await open_run(parts)
    (beat,) = await parts.workers.list_beats(except_for="taker")
    assert await parts.workers.take_over(WorkerBeat("worker", beat.beat), by="taker")
    await end(parts, run)  # of the first attempt
    assert await balance(parts) == (0, 100)
    await end(parts, run, attempt=2, interruption=Interruption(is_complete=False))
    assert await balance(parts) == (170, 0)
    await end(parts, run)
    assert await balance(parts) == (170, 0)


@pytest.mark.parametrize(
    ("interruption", "unknown"),
    [
        (Interruption(), 200),  # no agent reported: the combiner had not started
        (Interruption(frozenset("a")), 100),
        (Interruption(frozenset("ab")), 50),
        (Interruption(frozenset({"a", "b", "combine"})), 0),
        (Interruption(frozenset("a"), is_complete=False), 150),
    ],
)
async def test_calls_of_an_unknown_cost_are_charged_after_an_interruption(
    parts: Parts, interruption: Interruption, unknown: int
) -> None:
    run = await open_run(parts, demand(steps=FAN_OUT))
    await end(parts, run, usage=Usage(3, 4), interruption=interruption)
    assert await balance(parts) == (7 + unknown, 0)


async def test_an_agent_of_two_steps_has_reported_the_first(parts: Parts) -> None:
    ranking = ({"a": 10, "b": 10}, {"a": 5, "b": 5}, {"chair": 3})
    run = await open_run(parts, demand(steps=ranking))
    await end(parts, run, usage=Usage(), interruption=Interruption(frozenset("ab")))
    assert await balance(parts) == (10, 0)


MORE: Mapping[BudgetUnit, int] = {"tokens": 60, "nano_usd": 7}


async def test_an_extension_is_reserved_and_settled_with_the_rest(parts: Parts) -> None:
    run = await open_run(parts)
    assert await Budgets(parts.database).extend(run.run_id, run.demands, MORE) is None
    assert await balance(parts) == (0, 160)
    await end(parts, run, interruption=Interruption())
    assert await balance(parts) == (230, 0)


async def test_a_refused_extension_changes_nothing(parts: Parts) -> None:
    run = await open_run(parts, demand(limit=159))
    shortage = await Budgets(parts.database).extend(run.run_id, run.demands, MORE)
    assert shortage is not None
    assert (shortage.demanded, shortage.state.remaining) == (60, 59)
    assert await balance(parts) == (0, 100)


async def test_a_settled_run_cannot_be_extended(parts: Parts) -> None:
    run = await open_run(parts)
    await end(parts, run)
    with pytest.raises(KeyError):
        await Budgets(parts.database).extend(run.run_id, run.demands, MORE)
    assert await balance(parts) == (70, 0)


async def test_a_run_is_settled_in_the_period_of_its_reservation(parts: Parts) -> None:
    tomorrow = demand(start=DAY + timedelta(days=1))
    run = await open_run(parts)
    other = await open_run(parts, tomorrow)
    await end(parts, run, ended_at=NOW + timedelta(days=1))
    await end(parts, other, usage=Usage(1, 1))
    assert await balance(parts) == (70, 0)
    assert await balance(parts, tomorrow) == (2, 0)


async def test_a_clock_that_goes_back_finds_the_earlier_period_as_it_was(parts: Parts) -> None:
    """Neither the earlier nor the later period can be spent twice."""
    today, tomorrow = demand(limit=150), demand(limit=150, start=DAY + timedelta(days=1))
    for each in (today, tomorrow):  # the clock goes forward ...
        await end(parts, await open_run(parts, each))
    for each in (today, tomorrow):  # ... back, and forward again
        refused = make_run(demands=[each])
        written = await parts.journal.write(Batch(openings=[refused]))
        assert isinstance(written.get_result(refused.run_id), BudgetShortage)
        assert await balance(parts, each) == (70, 0)


async def test_past_budgets_are_deleted_late_and_never_with_a_reservation(parts: Parts) -> None:
    running = await open_run(parts, demand(subject="user:2"))
    await end(parts, await open_run(parts))
    period_end = demand().period_end
    await parts.workers.delete_expired(period_end + RETENTION - timedelta(seconds=1))
    assert await balance(parts) == (70, 0)
    await parts.workers.delete_expired(period_end + RETENTION + timedelta(seconds=1))
    assert await balance(parts) == (0, 0)
    assert await balance(parts, demand(subject="user:2")) == (0, 100)
    await end(parts, running)
    assert await balance(parts, demand(subject="user:2")) == (70, 0)


async def test_the_reservation_of_a_deleted_run_without_an_end_is_settled_late(
    parts: Parts,
) -> None:
    deleted, running = await open_run(parts), await open_run(parts)
    assert await Conversations(parts.database).delete("me", deleted.ask.conversation_id)
    now = datetime.now(UTC)
    await parts.workers.delete_expired(now + timedelta(days=1))
    assert await balance(parts) == (0, 200)
    await parts.workers.delete_expired(now + timedelta(days=3))
    assert await balance(parts) == (100, 100)
    await end(parts, running)
    assert await balance(parts) == (170, 0)
