"""Query parameters of reports: days, moments, dimensions, the format."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from quart import request

from service.api.http.query import ChoiceParam, invalid
from service.store.usage.report import DIMENSIONS, UsageDimension

FORMAT = ChoiceParam(
    "format", "The format; `Accept: text/csv` selects CSV.", ("json", "csv"), "json"
)

_YEARS = "(19[7-9][0-9]|[2-8][0-9]{3})"
_DATE = f"{_YEARS}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
_TIME = "([01][0-9]|2[0-3]):[0-5][0-9]"
_DAY = re.compile(f"^{_DATE}$")
_MOMENT = re.compile(rf"^{_DATE}(T{_TIME}(:[0-5][0-9](\.[0-9]{{1,6}})?)?(Z|[+-]{_TIME})?)?$")


def wants_csv() -> bool:
    """Return whether the request asks for CSV. Raises RequestError 400."""
    accepted = request.accept_mimetypes.best_match(["application/json", "text/csv"])
    return FORMAT.read("csv" if accepted == "text/csv" else "json") == "csv"


@dataclass(frozen=True, slots=True)
class DayParam:
    """A parameter with a day in UTC, such as 2026-11-26."""

    name: str
    description: str

    def read_optional(self) -> date | None:
        """Return its value in this request, or None. Raises RequestError 400."""
        value = request.args.get(self.name)
        if value is None:
            return None
        found = _parse(value) if _DAY.fullmatch(value) else None
        if found is None:
            raise invalid(self.name, "must be a day such as 2026-11-26, since 1970")
        return found.date()

    def parameter(self) -> dict[str, Any]:
        """Return it as OpenAPI's Parameter Object."""
        return _describe(self.name, self.description, {"type": "string", "pattern": _DAY.pattern})


@dataclass(frozen=True, slots=True)
class MomentParam:
    """A parameter with a day, or a moment with a time zone, in ISO 8601."""

    name: str
    description: str

    def read_optional(self) -> datetime | None:
        """Return its value in this request, or None. Raises RequestError 400."""
        value = request.args.get(self.name)
        if value is None:
            return None
        found = _parse(value) if _MOMENT.fullmatch(value) else None
        if found is None:
            raise invalid(self.name, "must be a day or a time, such as 2026-11-26T08:00:00Z")
        return found

    def parameter(self) -> dict[str, Any]:
        """Return it as OpenAPI's Parameter Object."""
        schema = {"type": "string", "pattern": _MOMENT.pattern}
        return _describe(self.name, self.description, schema)


@dataclass(frozen=True, slots=True)
class DimensionsParam:
    """A parameter with dimensions of usage, separated by commas."""

    name: str
    description: str

    def read(self) -> tuple[UsageDimension, ...]:
        """Return its value in this request. Raises RequestError 400."""
        value = request.args.get(self.name, "")
        names = [each.strip() for each in value.split(",")] if value else []
        known = {name: name for name in DIMENSIONS}
        if len(set(names)) != len(names) or not set(names) <= set(known):
            raise invalid(self.name, f"must name some of {', '.join(DIMENSIONS)}, each once")
        return tuple(known[name] for name in names if name in known)

    def parameter(self) -> dict[str, Any]:
        """Return it as OpenAPI's Parameter Object."""
        one = f"({'|'.join(DIMENSIONS)})"
        schema = {"type": "string", "pattern": f"^({one}(,{one})*)?$", "default": ""}
        return _describe(self.name, self.description, schema)


def _parse(value: str) -> datetime | None:
    """Return a moment in UTC, None for one that does not exist; no time zone stands for UTC."""
    try:
        found = datetime.fromisoformat(value)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _describe(name: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": description, "schema": schema}
