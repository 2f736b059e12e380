"""What the current task knows about the request and run it works for.

Only context variables: a task inherits them from the task that started it, so a run's log lines
carry the ids of the request that started it. Knows no framework and writes nothing.
"""

from contextvars import ContextVar
from dataclasses import dataclass

from opentelemetry.context import Context
from opentelemetry.trace import Span


@dataclass(slots=True)
class RequestInfo:
    """The request a task belongs to; the service fills `route`, `run_id`, `conversation_id`."""

    request_id: str
    trace_id: str  # 32 hex digits
    context: Context  # holds the server span: the explicit parent of what the request starts
    span: Span
    route: str = ""  # the URL rule, never the path: it becomes a label
    run_id: str = ""
    conversation_id: str = ""


request_var: ContextVar[RequestInfo | None] = ContextVar("telemetry_request", default=None)
_fields: ContextVar[dict[str, str] | None] = ContextVar("telemetry_log_fields", default=None)


def current_request() -> RequestInfo | None:
    """Return the request this task belongs to; None outside of one."""
    return request_var.get()


def bind_log(**fields: str) -> None:
    """Add `fields` to each later log line of this task and of the tasks it starts."""
    _fields.set({**(_fields.get() or {}), **fields})


def bound_fields() -> dict[str, str]:
    """Return what `bind_log` added here; not to be changed."""
    return _fields.get() or {}
