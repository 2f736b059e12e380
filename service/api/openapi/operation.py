"""What a handler says of itself, from which `/openapi.json` and `/docs` are made.

Placed under the route, an `Operation` is only noted on the handler, never called:

    @app.post("/stream")
    @Operation(
        "Ask, and read the answer's text alone",
        tag=Tag.ASK,
        body=StreamRequest,
        example={"prompt": "Explain tides"},
        parameters=(STREAM_FORMAT, IDEMPOTENCY_KEY),
        answers=(Answer("The text as it comes.", media="text/plain", of_run=True),),
        errors=(502, 504),
    )
    async def stream() -> Response: ...

The document adds what follows from that: 400, 408, 413 and 415 of a body, 400 of parameters, 404
of an address with an id in it, 422 of IDEMPOTENCY_KEY, 500, 503, the shape of errors (OpenAI's
below `/v1/`), and the headers of every response. `errors` names the other statuses. A `schema`
is any type that pydantic can describe: a model, a TypedDict of typing_extensions, `list[…]`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel

Handler = TypeVar("Handler", bound=Callable[..., Any])

EVENTS = "text/event-stream"
LINES = "application/x-ndjson"


class Tag(StrEnum):
    """The groups in which operations are shown, in this order."""

    ASK = "Ask"
    CHAT = "Chat"
    SESSIONS = "Sessions"
    OPENAI = "OpenAI"
    RUNS = "Runs"
    HISTORY = "History"
    CONVERSATIONS = "Conversations"
    OPERATIONS = "Operations"


class Parameter(Protocol):
    """Something that a request may carry beside its body."""

    def parameter(self) -> dict[str, Any]:
        """Return it as OpenAPI's Parameter Object."""


@dataclass(frozen=True, slots=True)
class Header:
    """A request header, in words; the face reads and checks it."""

    name: str
    description: str
    pattern: str

    def parameter(self) -> dict[str, Any]:
        schema = {"type": "string", "pattern": self.pattern}
        return {
            "name": self.name,
            "in": "header",
            "description": self.description,
            "schema": schema,
        }


IDEMPOTENCY_KEY = Header(
    "Idempotency-Key",
    "The same key and body join the run that the first request began.",
    r"^[\x21-\x7e]{1,255}$",
)
LAST_EVENT_ID = Header(
    "Last-Event-ID",
    "The id of the last event that was received: the stream goes on behind it.",
    r"^([A-Za-z0-9_]{1,64}-[0-9]{1,9})?$",
)


@dataclass(frozen=True, slots=True)
class ResponseSpec:
    """A response that is not an error. Several with one status are forms of the same.

    Of a stream (EVENTS, LINES) `schema` is that of the JSON in each event or line, `str` when it
    is plain text; `closing` is the last event's data when that is not JSON, as `[DONE]`.
    `of_run`: it carries X-Run-Id and X-Conversation-Id.
    """

    description: str
    schema: Any = None
    status: int = 200
    media: str = "application/json"
    of_run: bool = False
    closing: str = ""


@dataclass(frozen=True, slots=True)
class Operation:
    """What a route takes and answers. `example` is a body that works."""

    summary: str
    tag: Tag = field(kw_only=True)
    answers: tuple[ResponseSpec, ...] = field(kw_only=True)
    description: str = field(default="", kw_only=True)
    body: type[BaseModel] | None = field(default=None, kw_only=True)
    body_may_be_absent: bool = field(default=False, kw_only=True)
    example: Mapping[str, Any] | None = field(default=None, kw_only=True)
    parameters: tuple[Parameter, ...] = field(default=(), kw_only=True)
    errors: tuple[int, ...] = field(default=(), kw_only=True)

    def __call__(self, handler: Handler) -> Handler:
        """Note this on `handler`, which stays as it is."""
        setattr(handler, _NOTE, self)
        return handler


def operation(handler: Callable[..., Any]) -> Operation | None:
    """Return what a handler says of itself, if it does."""
    return getattr(handler, _NOTE, None)


_NOTE = "openapi_operation"
