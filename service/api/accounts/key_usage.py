"""The usage of API keys in the current day, week and month, from the sums of the usage store."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, cast

from service.api.accounts.schemas import KeyUsage
from service.limits.amounts import start_of_period
from service.store.usage.figures import show_figures
from service.store.usage.records import UsageSums
from service.store.usage.report import UsageQuery, UsageStore

_PERIODS: Final = ("day", "week", "month")
_MAX_KEYS: Final = 10_000


class KeyUsageReport:
    """The usage of the keys of one owner, or of all, in each period."""

    def __init__(self, sums: Mapping[str, Mapping[str, UsageSums]]) -> None:
        self._sums = sums

    def show(self, key_id: str) -> KeyUsage:
        """Return the usage of one key as JSON."""
        by_period = self._sums.items()
        shown = {period: show_figures(of.get(key_id, UsageSums())) for period, of in by_period}
        return cast(KeyUsage, shown)


async def read_key_usage(usage: UsageStore, owner: str | None) -> KeyUsageReport:
    """Return the usage of the keys of `owner`, or of all owners for None.

    Days start at midnight in UTC, weeks on Monday, months on the first. Raises StorageUnavailable.
    """
    now = datetime.now(UTC)
    found: dict[str, Mapping[str, UsageSums]] = {}
    for period in _PERIODS:
        since = start_of_period(period, now).date()
        query = UsageQuery(owner=owner, since=since, until=now.date(), by=("key",))
        groups = await usage.list_groups(query, _MAX_KEYS)
        found[period] = {each.values[0]: each.sums for each in groups}
    return KeyUsageReport(found)
