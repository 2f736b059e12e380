"""Positions in lists of conversations, as a parameter and a field of a page.

A conversation moves to the start of its list when it changes, so an offset would return some
items twice. A position consists of the time of the last change, in microseconds, and an id.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from quart import request

from service.api.http.query import invalid
from service.store.lists.pages import Position
from service.store.records import Conversation

_PATTERN = "^[0-9]{1,17}~[A-Za-z0-9._:-]{1,128}$"
_POSITION = re.compile(_PATTERN)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class PositionParam:
    """The parameter `before`: the `next` of the previous page."""

    def read_optional(self) -> Position | None:
        """Return its value in this request, or None. Raises RequestError 400."""
        value = request.args.get("before")
        if value is None:
            return None
        if not _POSITION.fullmatch(value):
            raise invalid("before", "must be the `next` of a page")
        number, _, conversation_id = value.partition("~")
        return _EPOCH + int(number) * _MICROSECOND, conversation_id

    def parameter(self) -> dict[str, Any]:
        """Return it as OpenAPI's Parameter Object."""
        return {
            "name": "before",
            "in": "query",
            "description": "The `next` of the previous page: list the items after it.",
            "schema": {"type": "string", "pattern": _PATTERN},
        }


BEFORE = PositionParam()


def split_page(
    conversations: Sequence[Conversation], limit: int
) -> tuple[Sequence[Conversation], dict[str, str]]:
    """Return the page of `limit` conversations, and its field `next` if one more follows it."""
    page = conversations[:limit]
    if len(conversations) <= limit:
        return page, {}
    last = page[-1]
    return page, {"next": f"{(last.updated_at - _EPOCH) // _MICROSECOND}~{last.id}"}
