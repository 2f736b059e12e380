"""The usage of an owner, or of all, in a period: by day, agent and model, and by user."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import reduce
from typing import Final

from service.pages.usage.period import UsagePeriod
from service.pages.usage.plot import Plot, plot_days
from service.pages.words import format_cost, format_count
from service.store.budgets.units import NANO_PER_USD
from service.store.usage.records import UsageGroup, UsageSums
from service.store.usage.report import UsageQuery, UsageStore

_MAX_GROUPS: Final = 10_000
_MAX_ROWS: Final = 25
_OTHERS: Final = "all others"


@dataclass(frozen=True, slots=True)
class UsageRow:
    """The usage of one day, agent, model or user. `share` is its part of the largest, 0 to 1."""

    name: str
    runs: int
    tokens: int
    cost_usd: float
    wasted_usd: float
    share: float = 0.0


@dataclass(frozen=True, slots=True)
class UsageTable:
    """Rows by one dimension, such as `Agent`; `counted` is what their `runs` count."""

    title: str
    rows: Sequence[UsageRow]
    counted: str = "Runs"


@dataclass(frozen=True, slots=True)
class UsageView:
    """The usage of a period as the pages show it. `unpriced` counts answers without a price."""

    period: UsagePeriod
    total: UsageRow
    unpriced: int
    plots: Sequence[Plot]
    tables: Sequence[UsageTable]
    days: UsageTable


async def read_usage(usage: UsageStore, owner: str | None, period: UsagePeriod) -> UsageView:
    """Return the usage of `owner`, None for all owners. Raises StorageUnavailable.

    The rows by user have the ids of the users as names.
    """

    async def read(*by: str) -> list[UsageGroup]:
        names = [each for each in _DIMENSIONS if each in by]
        query = UsageQuery(owner=owner, since=period.first, until=period.last, by=names)
        return await usage.list_groups(query, _MAX_GROUPS)

    by_day, by_agent = await read("day"), await read("agent", "model")
    tables = [
        UsageTable("Agent", _rank(by_agent, lambda each: each[0] or "no agent"), "Calls"),
        UsageTable("Model", _rank(by_agent, lambda each: each[1] or "unknown"), "Calls"),
    ]
    if owner is None:
        tables.append(UsageTable("User", _rank(await read("user"), lambda each: each[0])))
    days = [_make_row(group.values[0], group.sums) for group in by_day]
    total = _add(group.sums for group in by_day)
    return UsageView(
        period=period,
        total=_make_row("Total", total),
        unpriced=total.unpriced,
        plots=_make_plots(days, [*period.list_days()]),
        tables=tables,
        days=UsageTable("Day", days[::-1]),
    )


_DIMENSIONS: Final = ("day", "agent", "model", "user")


def _make_plots(rows: Sequence[UsageRow], days: Sequence[date]) -> list[Plot]:
    costs = {date.fromisoformat(each.name): each.cost_usd for each in rows}
    tokens = {date.fromisoformat(each.name): float(each.tokens) for each in rows}
    return [
        plot_days("Cost by day", costs, days, format_cost),
        plot_days("Tokens by day", tokens, days, lambda value: f"{format_count(value)} tokens"),
    ]


def _rank(
    groups: Sequence[UsageGroup], name_of: Callable[[tuple[str, ...]], str]
) -> list[UsageRow]:
    """Return the rows of the groups with equal names, the most expensive first."""
    by_name: dict[str, list[UsageSums]] = {}
    for group in groups:
        by_name.setdefault(name_of(group.values), []).append(group.sums)
    rows = [(name, _add(sums)) for name, sums in by_name.items()]
    rows.sort(key=lambda row: (-row[1].cost_nano, -_count_tokens(row[1]), row[0]))
    if len(rows) > _MAX_ROWS:
        rows[_MAX_ROWS - 1 :] = [(_OTHERS, _add(sums for _, sums in rows[_MAX_ROWS - 1 :]))]
    has_cost = any(sums.cost_nano for _, sums in rows)
    sizes = [sums.cost_nano if has_cost else _count_tokens(sums) for _, sums in rows]
    largest = max(sizes, default=0) or 1
    return [
        _make_row(name, sums, size / largest)
        for (name, sums), size in zip(rows, sizes, strict=True)
    ]


def _make_row(name: str, sums: UsageSums, share: float = 0.0) -> UsageRow:
    return UsageRow(
        name=name,
        runs=sums.runs,
        tokens=_count_tokens(sums),
        cost_usd=sums.cost_nano / NANO_PER_USD,
        wasted_usd=sums.wasted_nano / NANO_PER_USD,
        share=round(share, 3),
    )


def _count_tokens(sums: UsageSums) -> int:
    return sums.input_tokens + sums.output_tokens


def _add(all_sums: Iterable[UsageSums]) -> UsageSums:
    return reduce(UsageSums.plus, all_sums, UsageSums())
