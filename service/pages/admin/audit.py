"""The audit log as a page: its filter, and one part of its rows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, get_args
from urllib.parse import urlencode

from quart import request

from service.api.http.query import IntParam, TextParam
from service.api.usage.parameters import DayParam
from service.pages.dependencies import PageDependencies
from service.store.accounts.users import UserStore
from service.store.audit.entries import AuditAction, AuditRow
from service.store.audit.log import AuditFilter

_ROWS: Final = 50
_FROM = DayParam("from", "The first day, in UTC.")
_TO = DayParam("to", "The last day, in UTC.")
_ACTOR = TextParam("actor", "The name or the id of a user.", 200, required=False)
_ACTION = TextParam("action", "An action.", 40, required=False)
_BEFORE = IntParam("before", "Only rows with a lower number.", 0, 0, 999_999_999)


@dataclass(frozen=True, slots=True)
class ShownEntry:
    """A row of the log; `actor` is the name of a user where it has one."""

    row: AuditRow
    actor: str
    target: str
    details: str


@dataclass(frozen=True, slots=True)
class AuditView:
    """Rows of the log, the last one first. `chosen` has the values of the filter's fields.

    `query` selects the same rows in an address; `next` is its `before` for earlier rows, None at
    the end.
    """

    entries: Sequence[ShownEntry]
    actions: Sequence[str]
    chosen: Mapping[str, str]
    query: str
    next: int | None
    is_first: bool


async def read_audit(pages: PageDependencies) -> AuditView:
    """Return the rows that the current request selects.

    Raises RequestError 400 and StorageUnavailable.
    """
    chosen = _read_filter()
    users = UserStore(pages.api.store.database)
    actor = chosen["actor"]
    named = await users.find_by_name(actor) if actor else None
    until = _parse_day(chosen["to"])
    filter_ = AuditFilter(
        since=_parse_day(chosen["from"]),
        until=until + timedelta(days=1) if until else None,
        actor=named.name if named else actor or None,
        action=chosen["action"] or None,
    )
    before = _BEFORE.read()
    rows = await pages.api.store.audit.list_rows(filter_, _ROWS + 1, before or None)
    page = rows[:_ROWS]
    ids = {each.actor for each in page} | {each.target for each in page}
    names = {each.id: each.name for each in (await users.find_many(ids)).values()}
    return AuditView(
        entries=[_show(each, names) for each in page],
        actions=get_args(AuditAction),
        chosen=chosen,
        query=urlencode({name: value for name, value in chosen.items() if value}),
        next=page[-1].number if len(rows) > _ROWS else None,
        is_first=not before,
    )


def _read_filter() -> dict[str, str]:
    """Return the values of the filter's fields; a browser sends "" for an empty one."""
    params = (_FROM, _TO, _ACTOR, _ACTION)
    filled = [each for each in params if request.args.get(each.name)]
    return {each.name: "" for each in params} | {
        each.name: str(each.read_optional() or "") for each in filled
    }


def _parse_day(day: str) -> datetime | None:
    return datetime.fromisoformat(day).replace(tzinfo=UTC) if day else None


def _show(row: AuditRow, names: Mapping[str, str]) -> ShownEntry:
    details = json.loads(row.details)
    return ShownEntry(
        row=row,
        actor=names.get(row.actor, row.actor),
        target=names.get(row.target, row.target),
        details="; ".join(f"{name}: {_describe(value)}" for name, value in details.items()),
    )


def _describe(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
