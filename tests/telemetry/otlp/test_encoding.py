"""Comparison of our span encoder with the library's, field by field."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

from telemetry.otlp.encoding import encode
from tests._support.telemetry.capture import capturing
from tests._support.telemetry.sample_runs import fan_out

STATE = TraceState([("vendor", "a"), ("other", "b")])
REMOTE = SpanContext(7, 8, is_remote=True, trace_flags=TraceFlags(1), trace_state=STATE)
VALUES: dict[str, Any] = {
    "text": "é \u2028 \U0001f600",
    "empty": "",
    "yes": True,
    "no": False,
    "int": -5,
    "large": 2**62,
    "float": 0.25,
    "bytes": b"\x00\xff",
    "texts": ("a", "b"),
    "numbers": (1, 2),
    "nothing": (),
    "map": {"a": 1, "b": {"c": ("d",)}},
}


def make_spans(resource: Resource, limits: SpanLimits | None = None) -> Sequence[ReadableSpan]:
    """Return spans that use every field."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(resource=resource, span_limits=limits, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("one", "1.0", "https://schema", {"scope": "attribute"})
    parent = set_span_in_context(NonRecordingSpan(REMOTE))
    links = [Link(REMOTE, {"why": "resumed"}), Link(SpanContext(9, 10, is_remote=False))]
    for kind in SpanKind:
        span = tracer.start_span("all", parent, kind, VALUES, links)
        span.add_event("bare")
        span.add_event("full", VALUES, timestamp=123)
        span.set_status(Status(StatusCode.ERROR, "it broke"))
        span.end()
    plain = provider.get_tracer("two").start_span("plain")
    child = provider.get_tracer("two").start_span("child", set_span_in_context(plain))
    child.set_status(StatusCode.OK)
    child.end()
    plain.end()
    return exporter.get_finished_spans()


def test_a_span_with_everything_is_encoded_the_same() -> None:
    spans = make_spans(Resource({"service.name": "x", "process.pid": 1}, "https://resource"))
    assert encode(spans) == encode_spans(spans)
    assert encode(spans).SerializeToString() == encode_spans(spans).SerializeToString()


def test_dropped_items_have_the_same_counts() -> None:
    limits = SpanLimits(
        max_span_attributes=3,
        max_events=1,
        max_links=1,
        max_event_attributes=1,
        max_link_attributes=0,
    )
    spans = make_spans(Resource({}), limits)
    assert spans[0].dropped_attributes
    assert encode(spans) == encode_spans(spans)


def test_spans_are_grouped_by_resource_and_scope() -> None:
    first, second = make_spans(Resource({"a": 1})), make_spans(Resource({"a": 2}))
    mixed = [each for pair in zip(first, second, strict=True) for each in pair]
    encoded = encode(mixed)
    assert encoded == encode_spans(mixed)
    assert len(encoded.resource_spans) == 2


@pytest.mark.parametrize("scope", [None, InstrumentationScope("x")])
def test_a_bare_span_is_encoded_the_same(scope: InstrumentationScope | None) -> None:
    span = ReadableSpan("bare", REMOTE, instrumentation_scope=scope, resource=Resource({}))
    span._start_time = span._end_time = 1
    assert encode([span]) == encode_spans([span])


async def test_the_spans_of_a_fan_out_are_encoded_the_same() -> None:
    captured = capturing()
    await fan_out(captured.telemetry)
    spans = captured.spans
    assert encode(spans) == encode_spans(spans)


def test_an_empty_batch_is_encoded_the_same() -> None:
    assert encode([]) == encode_spans([])
