"""`/api/usage`: runs, tokens and cost, grouped by day, agent, model, key, user and ensemble."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, NotRequired

from quart import Quart, Response, jsonify
from typing_extensions import TypedDict

from service.access.csv_cells import encode_csv
from service.access.principal import Principal
from service.api.dependencies import ApiDependencies
from service.api.http.principal import current_principal
from service.api.http.query import TextParam, invalid, read_all
from service.api.openapi.operation import Operation, ResponseSpec, Tag
from service.api.usage.parameters import FORMAT, DayParam, DimensionsParam, wants_csv
from service.errors import RequestError
from service.store.accounts.users import UserStore
from service.store.store import Store
from service.store.usage.figures import FIGURES, show_all, show_groups
from service.store.usage.records import UsageSums
from service.store.usage.report import UsageQuery

_FROM = DayParam("from", "The first day, in UTC; by default 30 days before the last.")
_TO = DayParam("to", "The last day, in UTC; by default today.")
_BY = DimensionsParam("by", "The dimensions to group by, separated by commas.")
_USER = TextParam("user", "The id or the name of a user; for administrators.", 200, required=False)

_DEFAULT_DAYS = timedelta(days=30)
_MAX_GROUPS = 10_000


class UsageFigures(TypedDict):
    """Sums of usage; costs are in US dollars.

    `runs` counts runs; grouped by agent or model, the agents of runs.
    `wasted_cost` is the part of the cost that led to no answer. `unpriced_calls` counts answers
    whose model has no price.
    """

    runs: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    reasoning_tokens: int
    cost: float
    wasted_cost: float
    unpriced_calls: int


class RatedFigures(UsageFigures):
    """Sums of usage and of ratings.

    `ratings` counts ratings with a score or a thumb. `mean_score` is 0 to 1, null without any.
    `preferred` counts how often the answer of an agent was rated as better than another one.
    """

    ratings: int
    mean_score: float | None
    preferred: int


class UsageItem(RatedFigures):
    """The usage of one group, with its value of each dimension of the query."""

    day: NotRequired[str]
    agent: NotRequired[str]
    model: NotRequired[str]
    key: NotRequired[str]
    user: NotRequired[str]
    ensemble: NotRequired[str]


UsageReport = TypedDict(
    "UsageReport",
    {
        "from": str,
        "to": str,
        "by": list[str],
        "items": list[UsageItem],
        "total": RatedFigures,
    },
)
UsageReport.__doc__ = "The usage of each group, in the order of the dimensions, and the total."


def install(app: Quart, api: ApiDependencies) -> None:
    """Add `/api/usage` to `app`."""

    @app.get("/api/usage")
    @Operation(
        "Get usage and cost",
        tag=Tag.USAGE,
        scope="read",
        description="Own usage; for administrators that of all users, or of one.",
        parameters=(_FROM, _TO, _BY, _USER, FORMAT),
        answers=(
            ResponseSpec("The usage of each group, and the total.", UsageReport),
            ResponseSpec("The usage of each group.", str, media="text/csv"),
        ),
        errors=(403,),
    )
    async def usage() -> Response:
        since, until, by, user, is_csv = read_all(
            _FROM.read_optional, _TO.read_optional, _BY.read, _USER.read_optional, wants_csv
        )
        first, last = _choose_days(since, until)
        owner = await _choose_owner(api.store, current_principal(), user)
        query = UsageQuery(owner=owner, since=first, until=last, by=by)
        groups = await api.store.usage.list_groups(query, _MAX_GROUPS + 1)
        if len(groups) > _MAX_GROUPS:
            raise invalid("by", f"there are more than {_MAX_GROUPS} groups; choose a shorter time")
        items = show_groups(by, groups, await api.store.feedback_report.list_sums(query))
        if is_csv:
            return _as_csv(by, items)
        total = UsageQuery(owner=owner, since=first, until=last)
        sums = await api.store.usage.list_groups(total, 1)
        feedback = await api.store.feedback_report.list_sums(total)
        return jsonify(
            {
                "from": first.isoformat(),
                "to": last.isoformat(),
                "by": list(by),
                "items": items if by else [],
                "total": show_all(sums[0].sums if sums else UsageSums(), feedback.get(())),
            }
        )


def _choose_days(since: date | None, until: date | None) -> tuple[date, date]:
    last = until or max(datetime.now(UTC).date(), since or date.min)
    first = since or max(date.min + _DEFAULT_DAYS, last) - _DEFAULT_DAYS
    if first > last:
        raise invalid("from", "must not be after the last day")
    return first, last


async def _choose_owner(store: Store, caller: Principal, user: str | None) -> str | None:
    """Return the owner whose usage the caller may see, None for all owners."""
    if caller.role != "admin":
        if user not in (None, caller.owner, caller.user):
            raise RequestError("forbidden", "Only administrators see the usage of other users.")
        return caller.owner
    if user is None:
        return None
    found = await UserStore(store.database).find_by_name(user)
    return found.id if found else user


def _as_csv(by: Sequence[str], items: Sequence[Mapping[str, Any]]) -> Response:
    text = encode_csv([*by, *FIGURES], [[*each.values()] for each in items])
    return Response(text, content_type="text/csv; charset=utf-8")
