"""Base class of all operations: a span with an explicit parent, a start time and one end.

An operation that failed ends with status ERROR and `error.type`; one that was stopped on purpose
ends with `app.cancelled` and no status. This module never makes a span the current one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter

from opentelemetry.context import Context
from opentelemetry.trace import (
    SpanContext,
    SpanKind,
    StatusCode,
    Tracer,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.util.types import AttributeValue
from prometheus_client import Histogram

from telemetry import semconv
from telemetry.logs import redact
from telemetry.metrics.registry import Metrics
from telemetry.semconv import OTHER

Attributes = Mapping[str, AttributeValue | None]

STOPPED_ON_PURPOSE = frozenset({"cancelled", "skipped"})
_SUCCESSFUL = frozenset({"completed", "answered"})
_MESSAGE_CHARS = 300


@dataclass(frozen=True, slots=True)
class Recorder:
    """The tracer and the instruments that operations write to."""

    tracer: Tracer
    metrics: Metrics
    is_exporting: bool
    captures_content: bool


def resolve_error_type(outcome: str, error_type: str | None) -> str:
    """Return the `error.type` of an operation with this outcome, or "" if it is not an error."""
    if outcome in STOPPED_ON_PURPOSE or outcome in _SUCCESSFUL:
        return ""
    return error_type or (OTHER if outcome == "failed" else "")


class TimedSpan:
    """A span with an explicit parent, a start time and one end."""

    __slots__ = ("_context", "_ended", "_exemplar", "_recorder", "_span", "_started")

    def __init__(
        self,
        recorder: Recorder,
        name: str,
        parent: Context,
        attributes: Attributes,
        kind: SpanKind = SpanKind.INTERNAL,
    ) -> None:
        self._recorder = recorder
        self._started = perf_counter()
        self._ended = False
        known = drop_empty(attributes) if recorder.is_exporting else None
        self._span = recorder.tracer.start_span(name, context=parent, kind=kind, attributes=known)
        is_new = self._span is not get_current_span(parent)
        self._context = set_span_in_context(self._span, parent) if is_new else parent
        self._exemplar = recorder.metrics.exemplar(self.span_context)

    @property
    def span_context(self) -> SpanContext:
        """The span's ids, for links and for storage."""
        return self._span.get_span_context()

    @property
    def context(self) -> Context:
        """The context that contains the span, as explicit parent of child operations."""
        return self._context

    def _add_event(self, name: str, attributes: Attributes) -> None:
        """Add a span event, with secrets redacted."""
        if not self._span.is_recording():
            return
        cleaned = {
            key: redact(value) if isinstance(value, str) else value
            for key, value in drop_empty(attributes).items()
        }
        self._span.add_event(name, cleaned)

    def _elapsed_s(self) -> float:
        return perf_counter() - self._started

    def _observe(self, histogram: Histogram, value: float) -> None:
        histogram.observe(value, self._exemplar)

    def _end(
        self, *, error: str, cancelled: bool, attributes: Attributes, message: str = ""
    ) -> None:
        span = self._span
        if span.is_recording():
            span.set_attributes(drop_empty(attributes))
            if cancelled:
                span.set_attribute(semconv.CANCELLED, True)
            elif error:
                span.set_attribute(semconv.ERROR_TYPE, error)
                # An upstream's error message may quote the question.
                shown = redact(message)[:_MESSAGE_CHARS] if self._recorder.captures_content else ""
                span.set_status(StatusCode.ERROR, shown or None)
        span.end()


def drop_empty(attributes: Attributes) -> dict[str, AttributeValue]:
    """Return the attributes without values that are None or ""."""
    return {key: value for key, value in attributes.items() if value is not None and value != ""}
