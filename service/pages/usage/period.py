"""The days whose usage a page shows: its query parameter `days`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

from service.api.http.query import ChoiceParam

_LABELS: Final = {"7": "7 days", "30": "30 days", "90": "90 days", "365": "a year"}
_DAYS = ChoiceParam("days", "The number of days until today.", tuple(_LABELS), "30")


@dataclass(frozen=True, slots=True)
class UsagePeriod:
    """The days from `first` to `last`, both included, in UTC."""

    first: date
    last: date

    @property
    def days(self) -> int:
        """The number of days."""
        return (self.last - self.first).days + 1

    @property
    def label(self) -> str:
        """The number of days in words."""
        return _LABELS[str(self.days)]

    @property
    def choices(self) -> list[tuple[int, str]]:
        """The days and the label of each period that a visitor may choose."""
        return [(int(days), label) for days, label in _LABELS.items()]

    def list_days(self) -> Iterator[date]:
        """Yield each day."""
        return (self.first + timedelta(days=each) for each in range(self.days))


def read_period() -> UsagePeriod:
    """Return the period of the current request. Raises RequestError 400."""
    today = datetime.now(UTC).date()
    return UsagePeriod(today - timedelta(days=int(_DAYS.read()) - 1), today)
