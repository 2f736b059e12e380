"""`/api/audit`: the audit log, for administrators."""

from __future__ import annotations

import json
from typing import Any, NotRequired, get_args

from quart import Quart, Response, jsonify
from typing_extensions import TypedDict

from service.access.csv_cells import encode_csv
from service.api.dependencies import ApiDependencies
from service.api.http.query import IntParam, TextParam, read_all
from service.api.openapi.operation import Operation, ResponseSpec, Tag
from service.api.usage.parameters import FORMAT, MomentParam, wants_csv
from service.store.audit.entries import AuditAction
from service.store.audit.log import AuditFilter

_FROM = MomentParam("from", "Only rows of this time or later.")
_TO = MomentParam("to", "Only rows before this time.")
_ACTOR = TextParam("actor", "Only rows of this actor: the name of a user.", 200, required=False)
_ACTION = TextParam("action", "Only rows of this action.", 40, required=False)
_LIMIT = IntParam("limit", "The maximum number of rows.", 100, 1, 1_000)
_BEFORE = IntParam(
    "before", "Only rows with a lower number; 0 for the last ones.", 0, 0, 999_999_999
)


class AuditItem(TypedDict):
    """A row of the audit log. `hash` covers the other fields and the hash of the row before."""

    number: int
    at: str
    actor: str
    action: str
    target: str
    address: str
    request_id: str
    details: dict[str, Any]
    previous_hash: str
    hash: str


class AuditPage(TypedDict):
    """Rows of the audit log, the last one first; `next` is the value of `before` for more."""

    items: list[AuditItem]
    next: NotRequired[int]


def install(app: Quart, api: ApiDependencies) -> None:
    """Add `/api/audit` to `app`."""

    @app.get("/api/audit")
    @Operation(
        "List the audit log, the last row first",
        tag=Tag.USAGE,
        scope="admin",
        description=f"The actions are {', '.join(get_args(AuditAction))}.",
        parameters=(_FROM, _TO, _ACTOR, _ACTION, _LIMIT, _BEFORE, FORMAT),
        answers=(
            ResponseSpec("A page of rows.", AuditPage),
            ResponseSpec("A page of rows.", str, media="text/csv"),
        ),
    )
    async def audit() -> Response:
        since, until, actor, action, limit, before, is_csv = read_all(
            _FROM.read_optional,
            _TO.read_optional,
            _ACTOR.read_optional,
            _ACTION.read_optional,
            _LIMIT.read,
            _BEFORE.read,
            wants_csv,
        )
        filter_ = AuditFilter(since=since, until=until, actor=actor, action=action)
        rows = await api.store.audit.list_rows(filter_, limit + 1, before or None)
        page = rows[:limit]
        if is_csv:
            values = [list(each.to_json().values()) for each in page]
            text = encode_csv(list(AuditItem.__annotations__), [_flatten(row) for row in values])
            return Response(text, content_type="text/csv; charset=utf-8")
        more = {"next": page[-1].number} if len(rows) > limit else {}
        return jsonify({"items": [each.to_json() for each in page], **more})


def _flatten(values: list[Any]) -> list[Any]:
    return [json.dumps(each) if isinstance(each, dict) else each for each in values]
