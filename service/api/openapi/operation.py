"""The description of a route, from which `/openapi.json` and `/docs` are generated.

An `Operation` below the route decorates the handler; it is stored there and changes nothing:

    @app.post("/stream")
    @Operation(
        "Ask a question and stream the answer's text",
        tag=Tag.ASK,
        scope="run",
        body=StreamRequest,
        example={"prompt": "Explain tides"},
        parameters=(STREAM_FORMAT, IDEMPOTENCY_KEY),
        answers=(ResponseSpec("The text.", media="text/plain", of_run=True),),
        errors=(502, 504),
    )
    async def stream() -> Response: ...

The document adds the responses that follow from it: 400, 408, 413 and 415 for a body, 400 for
parameters, 404 for an id in the path, 422 for IDEMPOTENCY_KEY, 500, 503, the format of errors
(OpenAI's below `/v1/`), and the headers of every response. `errors` names the other statuses. A
`schema` is any type that pydantic can describe: a model, a TypedDict of typing_extensions,
`list[…]`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, Protocol, TypeVar

from pydantic import BaseModel

from service.access.scopes import RouteScope

Handler = TypeVar("Handler", bound=Callable[..., Any])

EVENTS = "text/event-stream"
LINES = "application/x-ndjson"


RouteUse = Literal["run", "events", "request", "free"]
"""What limits count: a run with its answer, events of a run, only the request, or nothing."""


class Tag(StrEnum):
    """The groups of operations, in the order of the documentation."""

    ASK = "Ask"
    CHAT = "Chat"
    SESSIONS = "Sessions"
    OPENAI = "OpenAI"
    RUNS = "Runs"
    HISTORY = "History"
    CONVERSATIONS = "Conversations"
    USAGE = "Usage"
    ACCOUNTS = "Accounts"
    OPERATIONS = "Operations"


class Parameter(Protocol):
    """A query parameter or header of a request."""

    def parameter(self) -> dict[str, Any]:
        """Return it as OpenAPI's Parameter Object."""


@dataclass(frozen=True, slots=True)
class Header:
    """The description of a request header; the API that uses it reads and checks it."""

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
    "A request with the same key and body attaches to the run that the first one started.",
    r"^[\x21-\x7e]{1,255}$",
)
LAST_EVENT_ID = Header(
    "Last-Event-ID",
    "The id of the last received event; the stream continues after it.",
    r"^([A-Za-z0-9_]{1,64}-[0-9]{1,9})?$",
)


@dataclass(frozen=True, slots=True)
class ResponseSpec:
    """A successful response. Several with one status are formats of the same response.

    For a stream (EVENTS, LINES) `schema` describes the JSON of each event or line, `str` plain
    text; `closing` is the last event's data when that is not JSON, for example `[DONE]`.
    `of_run`: the response has the headers of a run.
    """

    description: str
    schema: Any = None
    status: int = 200
    media: str = "application/json"
    of_run: bool = False
    closing: str = ""


@dataclass(frozen=True, slots=True)
class Operation:
    """The request and the responses of a route. `example` is a valid body.

    `scope` is what the caller needs (`service.api.http.principal` checks it).
    """

    summary: str
    tag: Tag = field(kw_only=True)
    scope: RouteScope = field(kw_only=True)
    answers: tuple[ResponseSpec, ...] = field(kw_only=True)
    description: str = field(default="", kw_only=True)
    body: type[BaseModel] | None = field(default=None, kw_only=True)
    body_may_be_absent: bool = field(default=False, kw_only=True)
    example: Mapping[str, Any] | None = field(default=None, kw_only=True)
    parameters: tuple[Parameter, ...] = field(default=(), kw_only=True)
    errors: tuple[int, ...] = field(default=(), kw_only=True)
    use: RouteUse = field(default="request", kw_only=True)

    @property
    def is_limited(self) -> bool:
        """Whether limits apply: not to health and metrics, and not to what ends a run."""
        return self.use != "free" and self.tag is not Tag.OPERATIONS

    def __call__(self, handler: Handler) -> Handler:
        """Store this description on `handler` and return it unchanged."""
        setattr(handler, _ATTRIBUTE, self)
        return handler


def operation(handler: Callable[..., Any]) -> Operation | None:
    """Return the `Operation` of a handler, if it has one."""
    return getattr(handler, _ATTRIBUTE, None)


_ATTRIBUTE = "openapi_operation"
