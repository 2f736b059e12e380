"""JSON answers to the service's own questions: the form of the request that a server accepts.

Servers differ in their support: a schema, any JSON object, or neither. The strongest form is
requested first; a refusal leads to the next one. A client's own `response_format` is never changed.
Source: https://platform.openai.com/docs/guides/structured-outputs
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from service.errors import UpstreamContextExceeded, UpstreamError

JsonForm = Literal["json_schema", "json_object", "text"]

_WEAKER: Mapping[JsonForm, JsonForm] = {"json_schema": "json_object", "json_object": "text"}
_NAMED = re.compile(r"response_?\s?format|json|schema|grammar|structured|guided", re.I)
_UNNAMED_STATUSES = frozenset({400, 422})
_NAMED_STATUSES = _UNNAMED_STATUSES | {404, 405, 415, 500, 501, None}


def make_json_options(schema: Mapping[str, Any], form: JsonForm) -> Mapping[str, Any]:
    """Return the fields of a request for an answer by `schema`."""
    if form == "json_object":
        return {"response_format": {"type": "json_object"}}
    if form == "json_schema":
        named = {"name": "answer", "schema": schema, "strict": True}
        return {"response_format": {"type": "json_schema", "json_schema": named}}
    return {}


def find_weaker_form(error: UpstreamError, form: JsonForm) -> JsonForm | None:
    """Return the form with which a refused request is repeated; None if that cannot help."""
    weaker, status = _WEAKER.get(form), error.report.status
    if weaker is None or isinstance(error, UpstreamContextExceeded):
        return None
    is_named = bool(_NAMED.search(error.report.sentence)) and status in _NAMED_STATUSES
    return weaker if is_named or status in _UNNAMED_STATUSES else None
