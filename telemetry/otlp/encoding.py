"""Encoding of spans as OTLP protobuf messages, five times as fast as the library's.

Encoding holds the GIL and was the most expensive part of a trace: 42 µs a span with
`opentelemetry-exporter-otlp-proto-common`, which passes keyword arguments to message constructors.
Filling messages in place takes 8 µs. A test compares the results of both encoders.

Source: https://github.com/open-telemetry/opentelemetry-proto, trace/v1/trace.proto
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status

_KINDS: Final = {kind: kind.value + 1 for kind in SpanKind}
_HAS_IS_REMOTE: Final = 0x100  # SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK
_IS_REMOTE: Final = 0x200  # SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK


def encode(spans: Sequence[ReadableSpan]) -> ExportTraceServiceRequest:
    """Return one export request for all `spans`, grouped by resource and scope."""
    request = ExportTraceServiceRequest()
    resources: dict[int, ResourceSpans] = {}
    scopes: dict[tuple[int, int], ScopeSpans] = {}
    for span in spans:
        resource, scope = span.resource, span.instrumentation_scope
        key = id(resource), id(scope)  # unique, since the spans reference both
        message = scopes.get(key)
        if message is None:
            parent = resources.get(key[0])
            if parent is None:
                parent = resources[key[0]] = _add_resource(request, resource)
            message = scopes[key] = parent.scope_spans.add()
            _put_scope(message, scope)
        _put_span(message.spans.add(), span)
    return request


def _add_resource(request: ExportTraceServiceRequest, resource: Resource) -> ResourceSpans:
    message: ResourceSpans = request.resource_spans.add()
    message.resource.SetInParent()
    _put_attributes(message.resource.attributes, resource.attributes)
    message.schema_url = resource.schema_url
    return message


def _put_scope(message: ScopeSpans, scope: InstrumentationScope | None) -> None:
    message.scope.SetInParent()
    if scope is None:
        return
    message.scope.name = scope.name
    message.scope.version = scope.version or ""
    message.schema_url = scope.schema_url or ""
    if scope.attributes:
        _put_attributes(message.scope.attributes, scope.attributes)


def _put_span(message: SpanMessage, span: ReadableSpan) -> None:
    context, parent = span.context, span.parent
    if context is not None:
        message.trace_id = context.trace_id.to_bytes(16, "big")
        message.span_id = context.span_id.to_bytes(8, "big")
        if context.trace_state:
            message.trace_state = context.trace_state.to_header()
    message.flags = _encode_flags(parent)
    if parent:
        message.parent_span_id = parent.span_id.to_bytes(8, "big")
    message.name = span.name
    message.kind = _KINDS[span.kind]  # type: ignore[assignment]  # the generated enum type
    message.start_time_unix_nano = span.start_time or 0
    message.end_time_unix_nano = span.end_time or 0
    if span.attributes:
        _put_attributes(message.attributes, span.attributes)
        message.dropped_attributes_count = span.dropped_attributes
    for event in span.events:
        _put_event(message.events.add(), event)
    for link in span.links:
        _put_link(message.links.add(), link)
    message.dropped_events_count = span.dropped_events
    message.dropped_links_count = span.dropped_links
    _put_status(message, span.status)


def _put_status(message: SpanMessage, status: Status) -> None:
    message.status.code = status.status_code.value  # type: ignore[assignment]  # likewise
    if status.description:
        message.status.message = status.description


def _put_event(message: SpanMessage.Event, event: Event) -> None:
    message.name = event.name
    message.time_unix_nano = event.timestamp
    if event.attributes:
        _put_attributes(message.attributes, event.attributes)
    message.dropped_attributes_count = event.dropped_attributes


def _put_link(message: SpanMessage.Link, link: Link) -> None:
    message.trace_id = link.context.trace_id.to_bytes(16, "big")
    message.span_id = link.context.span_id.to_bytes(8, "big")
    message.flags = _encode_flags(link.context)
    if link.attributes:
        _put_attributes(message.attributes, link.attributes)
    message.dropped_attributes_count = link.dropped_attributes


def _encode_flags(context: SpanContext | None) -> int:
    remote = context is not None and context.is_remote
    return _HAS_IS_REMOTE | _IS_REMOTE if remote else _HAS_IS_REMOTE


def _put_attributes(target: Any, attributes: Mapping[str, Any]) -> None:
    # The SDK's mapping acquires its lock for each item, but only once for a copy.
    items = attributes.copy() if isinstance(attributes, MappingProxyType) else attributes
    for key, value in items.items():
        pair = target.add()
        pair.key = key
        if isinstance(value, str):  # the most frequent type
            pair.value.string_value = value
        else:
            _put_value(pair.value, value)


def _put_value(target: Any, value: object) -> None:
    match value:
        case str():
            target.string_value = value
        case bool():  # before int: bool is a subclass of int
            target.bool_value = value
        case int():
            target.int_value = value
        case float():
            target.double_value = value
        case bytes():
            target.bytes_value = value
        case Mapping():
            target.kvlist_value.SetInParent()
            _put_attributes(target.kvlist_value.values, value)
        case Sequence():
            target.array_value.SetInParent()
            for each in value:
                _put_value(target.array_value.values.add(), each)
