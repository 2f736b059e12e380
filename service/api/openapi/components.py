"""The components of `/openapi.json` that all routes share: errors, headers, descriptions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NotRequired

from typing_extensions import TypedDict

from service.api.openapi.operation import Tag


class FieldProblem(TypedDict):
    """The fault of one field or parameter; `field` is a dotted path."""

    field: str
    message: str


class Problem(TypedDict):
    """An error: `error` is a sentence for people, `code` an identifier for programs."""

    error: str
    code: str
    request_id: str
    trace_id: str
    details: NotRequired[list[FieldProblem]]


class OpenAIErrorObject(TypedDict):
    """An error in OpenAI's format; `param` is the field at fault."""

    message: str
    type: str
    param: str | None
    code: str | None


class OpenAIProblem(TypedDict):
    """An error in the shape of OpenAI's API."""

    error: OpenAIErrorObject


ABOUT = """\
Send one question to several LLM agents at the same time. A combining model turns their answers
into one, which streams while it is written. Each question starts a run, which can be followed,
resumed, cancelled and found again. Several APIs start runs, each in the format of existing clients.
"""

LICENSE = {"license": {"name": "MIT", "identifier": "MIT"}}

TAGS: Mapping[Tag, str] = {
    Tag.ASK: "Ask a question; read every step of the run, or only the answer's text.",
    Tag.CHAT: "Send the messages of a chat; read the answer as JSON, SSE or on a WebSocket.",
    Tag.SESSIONS: "Ask in sessions of named users, and manage the sessions.",
    Tag.OPENAI: "OpenAI's API: its SDKs work after a change of `base_url`.",
    Tag.RUNS: "Read a run, follow its events again, cancel it, retry it.",
    Tag.HISTORY: "List and search earlier questions and answers.",
    Tag.CONVERSATIONS: "List, read, rename, delete and export conversations.",
    Tag.USAGE: "Usage and cost, and the audit log.",
    Tag.ACCOUNTS: "Register and log in; manage users, their sessions and their API keys.",
    Tag.OPERATIONS: "Health, metrics and this documentation.",
}

STATUSES: Mapping[int, str] = {
    400: "The request is malformed: not JSON, or a field is missing, unknown or wrong.",
    401: "`AUTH=required`, and the request has no valid credential.",
    402: "The budget does not cover the estimated cost.",
    403: "The caller or the page may not do this.",
    404: "There is no such resource.",
    405: "The address does not accept that method; `Allow` lists the accepted ones.",
    408: "The body did not arrive in time.",
    409: "The resource is in a state that does not permit the request.",
    410: "The resource has expired.",
    413: "The body is larger than the service accepts.",
    415: "The `Content-Type` is not JSON.",
    421: "This host is not served; `ALLOWED_HOSTS` lists further ones.",
    422: "The `Idempotency-Key` was used with another body before.",
    426: "The address accepts WebSockets only.",
    429: "Too many requests; retry after `Retry-After`.",
    500: "The service failed unexpectedly.",
    502: "A model server failed.",
    503: "Shutting down, overloaded or without database; retry after `Retry-After`.",
    504: "A model server or the run took too long.",
}

_HEADERS: Mapping[str, str] = {
    "X-Request-ID": "The request's id: the caller's, or a new one.",
    "X-Trace-Id": "The id of the trace, 32 hex digits.",
    "traceresponse": "The trace in the format of W3C Trace Context.",
    "X-Run-Id": "The id of the run, for `/api/runs/{run_id}`.",
    "X-Conversation-Id": "The id of the conversation.",
    "X-Degraded": "`true` when the answer is known to be degraded before the body is sent.",
    "Retry-After": "Seconds to wait.",
    "X-RateLimit-Limit": "The limit that is closest to its end; only if a limit applies.",
    "X-RateLimit-Remaining": "The requests that it has left.",
    "X-RateLimit-Reset": "The time at which all of it is available again, in seconds since 1970.",
    "RateLimit": "What is left of every limit, as a structured field of the IETF's draft.",
    "RateLimit-Policy": "The limits that apply, as a structured field of the IETF's draft.",
}

LIMIT_HEADERS = tuple(name for name in _HEADERS if "RateLimit" in name)

_VARIABLES: Mapping[str, str] = {
    "run_id": "The id of a run.",
    "conversation_id": "The id of a conversation.",
    "session_id": "The id of a session, which is a conversation.",
    "user_id": "The id of a user.",
    "web_session_id": "The id of the login of a browser.",
    "key_id": "The id of an API key: its 12 characters after `sk-lsse-`.",
    "response_id": "The id of a response.",
}


def error_responses(problem: Any, openai_error: Any) -> dict[str, Any]:
    """Return the error responses that routes refer to, in the service's and in OpenAI's format."""
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
    """Return the `X-Request-ID` header, which every request may send."""
    return {
        "name": "X-Request-ID",
        "in": "header",
        "description": "An id for the request, 1 to 128 of `A-Za-z0-9._-`; it is returned.",
        "schema": {"type": "string"},
    }


def path_parameter(name: str) -> dict[str, Any]:
    """Return the OpenAPI parameter for a variable in a path."""
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
    if status == 429:
        names += LIMIT_HEADERS
    return {
        "description": words,
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in names},
        "content": {"application/json": {"schema": schema}},
    }
