"""What the description of the API says of every route alike: errors, headers, words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NotRequired

from typing_extensions import TypedDict

from service.api.openapi.operation import Tag


class FieldProblem(TypedDict):
    """What is wrong with one field or parameter; `field` is a dotted path."""

    field: str
    message: str


class Problem(TypedDict):
    """An error: `error` is a sentence for people, `code` a word for programs."""

    error: str
    code: str
    request_id: str
    trace_id: str
    details: NotRequired[list[FieldProblem]]


class OpenAIErrorObject(TypedDict):
    """What went wrong, as OpenAI says it; `param` is the field at fault."""

    message: str
    type: str
    param: str | None
    code: str | None


class OpenAIProblem(TypedDict):
    """An error in the shape of OpenAI's API."""

    error: OpenAIErrorObject


ABOUT = """\
One question goes to several LLM agents at once, another model makes one answer of theirs, and
the answer streams while it is written. That is a run; it can be asked for, read, stopped and
found again in the ways that existing clients know.
"""

LICENSE = {"license": {"name": "MIT", "identifier": "MIT"}}

TAGS: Mapping[Tag, str] = {
    Tag.ASK: "A question, and all that happens, or the answer's text alone.",
    Tag.CHAT: "Messages in, the answer as JSON, as a stream of tokens, or on a WebSocket.",
    Tag.SESSIONS: "Conversations as sessions of users.",
    Tag.OPENAI: "OpenAI's own API: its SDKs work with another `base_url`.",
    Tag.RUNS: "A run: look at it, follow it again, stop it, ask again.",
    Tag.HISTORY: "What was asked and answered, by time and by its words.",
    Tag.CONVERSATIONS: "Runs that belong together.",
    Tag.OPERATIONS: "For people, orchestrators and Prometheus.",
}

STATUSES: Mapping[int, str] = {
    400: "The request does not fit: not JSON, or something is missing, unknown or wrong.",
    401: "No valid credentials.",
    403: "Not allowed.",
    404: "There is no such thing.",
    405: "The address does not take that method; `Allow` says which.",
    408: "The body did not arrive in time.",
    409: "Not in this state.",
    410: "It is no longer kept.",
    413: "The body is larger than the service accepts.",
    415: "The body is not JSON by its `Content-Type`.",
    422: "The `Idempotency-Key` came with another body.",
    426: "The address is a WebSocket's.",
    429: "Too many requests; come back after `Retry-After`.",
    500: "A fault of the service, or of what it needs.",
    502: "A model's server failed.",
    503: "Shutting down, overloaded, or without its database; come back after `Retry-After`.",
    504: "A model, or the run, took too long.",
}

_HEADERS: Mapping[str, str] = {
    "X-Request-ID": "The request's id: the caller's, or a new one.",
    "X-Trace-Id": "The id of the trace, 32 hex digits.",
    "traceresponse": "The trace as W3C's trace context has it.",
    "X-Run-Id": "The id of the run, for `/api/runs/{run_id}`.",
    "X-Conversation-Id": "The id of the conversation.",
    "X-Degraded": "`true` when the answer is known to be degraded before the body is sent.",
    "Retry-After": "Seconds to wait.",
}

_VARIABLES: Mapping[str, str] = {
    "run_id": "The id of a run.",
    "conversation_id": "The id of a conversation.",
    "session_id": "The id of a session, which is a conversation.",
    "user_id": "The id of a user.",
    "response_id": "The id of a response.",
}


def error_responses(problem: Any, openai_error: Any) -> dict[str, Any]:
    """Return the responses that any route may refer to, in the shape of either kind of client."""
    shapes = {"Error": problem, "OpenAIError": openai_error}
    return {
        f"{name}{status}": _error(status, words, schema)
        for name, schema in shapes.items()
        for status, words in STATUSES.items()
    }


def headers() -> dict[str, Any]:
    """Return the response headers as components."""
    return {
        name: {"description": words, "schema": {"type": "string"}}
        for name, words in _HEADERS.items()
    }


def request_id_parameter() -> dict[str, Any]:
    """Return the header that any request may have."""
    return {
        "name": "X-Request-ID",
        "in": "header",
        "description": "A name for this request, 1 to 128 of `A-Za-z0-9._-`: it comes back.",
        "schema": {"type": "string"},
    }


def path_parameter(name: str) -> dict[str, Any]:
    """Return a variable part of an address."""
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": _VARIABLES.get(name, f"The {name.replace('_', ' ')}."),
        "schema": {"type": "string", "minLength": 1},
    }


def _error(status: int, words: str, schema: Any) -> dict[str, Any]:
    names = ["X-Request-ID", "X-Trace-Id", "traceresponse"]
    if status in (429, 503):
        names.append("Retry-After")
    return {
        "description": words,
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in names},
        "content": {"application/json": {"schema": schema}},
    }
