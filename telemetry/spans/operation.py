"""What every operation shares: a span with an explicit parent, a clock, and one end.

The rules of ending: an error has status ERROR with `error.type`; what was stopped on purpose has
`app.cancelled` and no status. Nothing here is ever the current span.
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
_WELL_ENDED = frozenset({"completed", "answered"})
_MESSAGE_CHARS = 300


@dataclass(frozen=True, slots=True)
class Recorder:
    """Where operations write: one tracer and one set of instruments."""

    tracer: Tracer
    metrics: Metrics
    is_exporting: bool
    captures_content: bool


def error_of(outcome: str, error_type: str | None) -> str:
    """Return the `error.type` of an operation that ended with `outcome`; "" when it is no error."""
    if outcome in STOPPED_ON_PURPOSE or outcome in _WELL_ENDED:
        return ""
    return error_type or (OTHER if outcome == "failed" else "")


class TimedSpan:
    """A span with an explicit parent, a clock, and one end."""

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
        self._span = recorder.tracer.start_span(
            name, context=parent, kind=kind, attributes=present(attributes)
        )
        is_new = self._span is not get_current_span(parent)
        self._context = set_span_in_context(self._span, parent) if is_new else parent
        self._exemplar = recorder.metrics.exemplar(self.span_context)

    @property
    def span_context(self) -> SpanContext:
        """The span's ids, to link to or to write down."""
        return self._span.get_span_context()

    @property
    def context(self) -> Context:
        """Holds the span: the explicit parent of what belongs to this operation."""
        return self._context

    def _event(self, name: str, attributes: Attributes) -> None:
        """Add a span event; secrets are taken out."""
        if not self._span.is_recording():
            return
        cleaned = {
            key: redact(value) if isinstance(value, str) else value
            for key, value in present(attributes).items()
        }
        self._span.add_event(name, cleaned)

    def _since_start(self) -> float:
        return perf_counter() - self._started

    def _observe(self, histogram: Histogram, value: float) -> None:
        histogram.observe(value, self._exemplar)

    def _end(
        self, *, error: str, cancelled: bool, attributes: Attributes, message: str = ""
    ) -> None:
        span = self._span
        if span.is_recording():
            span.set_attributes(present(attributes))
            if cancelled:
                span.set_attribute(semconv.CANCELLED, True)
            elif error:
                span.set_attribute(semconv.ERROR_TYPE, error)
                # A server's refusal may quote the question.
                said = redact(message)[:_MESSAGE_CHARS] if self._recorder.captures_content else ""
                span.set_status(StatusCode.ERROR, said or None)
        span.end()


def present(attributes: Attributes) -> dict[str, AttributeValue]:
    """Return the attributes that have a value: neither None nor empty text."""
    return {key: value for key, value in attributes.items() if value is not None and value != ""}
