"""Spans and log records as plain values, decoded from OTLP protobuf.

Source: https://github.com/open-telemetry/opentelemetry-proto
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

Attributes = dict[str, Any]

_KINDS = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
_STATUSES = ("UNSET", "OK", "ERROR")


@dataclass(frozen=True, slots=True)
class Event:
    """A span event."""

    name: str
    time_ns: int
    attributes: Attributes


@dataclass(frozen=True, slots=True)
class Link:
    """A link from a span to another span, in the same trace or in another one."""

    trace_id: str
    span_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One span. Ids are lower-case hex, `parent_id` "" for none; times since the epoch."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: str
    status: str
    message: str  # of the status
    attributes: Attributes
    events: tuple[Event, ...]
    links: tuple[Link, ...]
    resource: Attributes
    start_ns: int
    end_ns: int
    dropped: int  # attributes, events and links that the SDK's limits took

    @property
    def duration_s(self) -> float:
        return (self.end_ns - self.start_ns) / 1e9

    def event(self, name: str) -> Event:
        """Return the one event of this name."""
        (found,) = [event for event in self.events if event.name == name]
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRecord:
    """One log record; its ids are "" outside of a trace."""

    body: Any
    severity: str
    trace_id: str
    span_id: str
    attributes: Attributes
    resource: Attributes
    time_ns: int


def spans_of(body: bytes) -> list[Span]:
    """Return the spans of an export request. Raises DecodeError."""
    return list(_spans(ExportTraceServiceRequest.FromString(body)))


def logs_of(body: bytes) -> list[LogRecord]:
    """Return the log records of an export request. Raises DecodeError."""
    return list(_logs(ExportLogsServiceRequest.FromString(body)))


def _spans(request: Any) -> Iterator[Span]:
    for of_resource in request.resource_spans:
        resource = _attributes(of_resource.resource.attributes)
        for of_scope in of_resource.scope_spans:
            for span in of_scope.spans:
                yield _span(span, resource)


def _span(span: Any, resource: Attributes) -> Span:
    return Span(
        name=span.name,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        kind=_KINDS[span.kind],
        status=_STATUSES[span.status.code],
        message=span.status.message,
        attributes=_attributes(span.attributes),
        events=tuple(
            Event(event.name, event.time_unix_nano, _attributes(event.attributes))
            for event in span.events
        ),
        links=tuple(Link(link.trace_id.hex(), link.span_id.hex()) for link in span.links),
        resource=resource,
        start_ns=span.start_time_unix_nano,
        end_ns=span.end_time_unix_nano,
        dropped=(
            span.dropped_attributes_count + span.dropped_events_count + span.dropped_links_count
        ),
    )


def _logs(request: Any) -> Iterator[LogRecord]:
    for of_resource in request.resource_logs:
        resource = _attributes(of_resource.resource.attributes)
        for of_scope in of_resource.scope_logs:
            for record in of_scope.log_records:
                yield LogRecord(
                    body=_value(record.body),
                    severity=record.severity_text,
                    trace_id=record.trace_id.hex(),
                    span_id=record.span_id.hex(),
                    attributes=_attributes(record.attributes),
                    resource=resource,
                    time_ns=record.time_unix_nano or record.observed_time_unix_nano,
                )


def _attributes(pairs: Iterable[Any]) -> Attributes:
    pairs = list(pairs)
    found = {pair.key: _value(pair.value) for pair in pairs}
    assert len(found) == len(pairs), "an attribute is there twice"
    return found


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(each) for each in value.array_value.values]
    if kind == "kvlist_value":
        return _attributes(value.kvlist_value.values)
    return None if kind is None else getattr(value, kind)
