"""Context variables with the request and run that the current task works for.

A task inherits them from the task that started it, so a run's log lines carry the ids of the
request that started the run. This module knows no web framework and writes nothing.
"""

import contextvars
from contextvars import ContextVar
from dataclasses import dataclass

from opentelemetry.context import Context, attach, get_current
from opentelemetry.trace import Span


@dataclass(slots=True)
class RequestInfo:
    """The request a task belongs to; the service sets `route`, `run_id` and `conversation_id`.

    `direct_bytes` counts the bytes of the response that pass no middleware.
    """

    request_id: str
    trace_id: str  # 32 hex digits
    context: Context  # contains the server span, the explicit parent of the spans below it
    span: Span
    route: str = ""  # the URL rule, never the path, since it becomes a label value
    run_id: str = ""
    conversation_id: str = ""
    direct_bytes: int = 0


request_var: ContextVar[RequestInfo | None] = ContextVar("telemetry_request", default=None)
_fields: ContextVar[dict[str, str] | None] = ContextVar("telemetry_log_fields", default=None)


def current_request() -> RequestInfo | None:
    """Return the request this task belongs to, or None outside a request."""
    return request_var.get()


def bind_log(**fields: str) -> None:
    """Add `fields` to every later log line of this task and of the tasks it starts."""
    _fields.set({**(_fields.get() or {}), **fields})


def build_detached_context() -> contextvars.Context:
    """Return a context for work that outlives the request: with its ids, and nothing else of it.

    A task, a timer and a connection retain the context in which they were created. That of a
    request refers to the web framework's request, and so to the connection of its client.
    """

    def fill(request: RequestInfo | None, fields: dict[str, str] | None, parent: Context) -> None:
        request_var.set(request)
        _fields.set(fields)
        attach(parent)

    context = contextvars.Context()
    context.run(fill, request_var.get(), _fields.get(), get_current())
    return context


def get_bound_fields() -> dict[str, str]:
    """Return the fields that `bind_log` added; the caller must not change them."""
    return _fields.get() or {}
