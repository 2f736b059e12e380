"""A client of Jaeger's query API that reads one trace.

Failures are JaegerErrors with a message for the user.
Source: https://www.jaegertracing.io/docs/2.13/architecture/apis/#internal-http-json
"""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

SERVICE = "llm-sse-service"
_TIMEOUT_S = 10.0
_LATEST = 20
_ID = re.compile(r"[0-9a-f]{32}")
# Matches the span of a run, regardless of the request that started it.
_RUN_TAGS = {"gen_ai.operation.name": "invoke_workflow"}

Value = str | int | float | bool


class JaegerError(Exception):
    """Jaeger is not reachable or does not have the trace."""


@dataclass(frozen=True)
class Event:
    """An event of a span; `at_us` in microseconds since the epoch."""

    name: str
    at_us: int
    attributes: Mapping[str, Value]


@dataclass(frozen=True)
class Span:
    """One span: times in microseconds, `start_us` since the epoch; a root has `parent_id` ""."""

    span_id: str
    parent_id: str
    name: str
    start_us: int
    duration_us: int
    attributes: Mapping[str, Value]
    events: Sequence[Event] = ()

    @property
    def end_us(self) -> int:
        return self.start_us + self.duration_us


@dataclass(frozen=True)
class Trace:
    """The spans of one trace, at least one."""

    trace_id: str
    service: str
    spans: Sequence[Span]

    @property
    def start_us(self) -> int:
        return min(span.start_us for span in self.spans)

    @property
    def duration_us(self) -> int:
        """From the first start to the last end, since a run may end after its request."""
        return max(span.end_us for span in self.spans) - self.start_us


def find_trace(jaeger: str, wanted: str) -> Trace:
    """Return the trace that `wanted` names: an id, a URL that contains one, or "" for the latest.

    `jaeger` is the address of the query API; the host of a URL in `wanted` overrides it.

    Raises JaegerError.
    """
    if not wanted:
        return _find_latest(jaeger)
    trace_id = _ID.search(wanted.lower())
    if not trace_id:
        raise JaegerError(f"There is no trace id in {wanted!r}: an id has 32 digits from 0 to f.")
    parts = urlsplit(wanted)
    base = f"{parts.scheme}://{parts.netloc}" if parts.netloc else jaeger
    found = fetch(base, f"/api/traces/{trace_id[0]}")
    if not found:
        raise JaegerError(
            f"{base} does not know trace {trace_id[0]}; spans arrive some seconds late."
        )
    return parse_trace(found[0])


def _find_latest(jaeger: str) -> Trace:
    query = urlencode({"service": SERVICE, "tags": json.dumps(_RUN_TAGS), "limit": _LATEST})
    found = [parse_trace(each) for each in fetch(jaeger, f"/api/traces?{query}")]
    if not found:
        raise JaegerError(
            f"{jaeger} has no run of the last hour. Does the service export its spans, and"
            " was a question asked?"
        )
    return max(found, key=lambda trace: trace.start_us)


def fetch(jaeger: str, path: str) -> list[Any]:
    """Return the `data` of a response, which may be empty; raises JaegerError."""
    connection = http.client.HTTPConnection(urlsplit(jaeger).netloc, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", path)
        answer = json.loads(connection.getresponse().read())
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise JaegerError(
            f"No Jaeger answers at {jaeger} ({error}). Is `make observe` running?"
        ) from error
    finally:
        connection.close()
    return answer.get("data") or []


def parse_trace(trace: Mapping[str, Any]) -> Trace:
    """Return one element of a response's `data` as a trace."""
    services = [process["serviceName"] for process in trace["processes"].values()]
    return Trace(trace["traceID"], services[0], [_parse_span(span) for span in trace["spans"]])


def _parse_span(span: Mapping[str, Any]) -> Span:
    trace_id = span["traceID"]
    parents = [
        reference["spanID"]
        for reference in span.get("references") or ()
        # A reference to another trace is a link.
        if reference["refType"] == "CHILD_OF" and reference["traceID"] == trace_id
    ]
    return Span(
        span_id=span["spanID"],
        parent_id=parents[0] if parents else "",
        name=span["operationName"],
        start_us=span["startTime"],
        duration_us=span["duration"],
        attributes=_parse_attributes(span["tags"]),
        events=[_parse_event(log) for log in span.get("logs") or ()],
    )


def _parse_event(log: Mapping[str, Any]) -> Event:
    fields = _parse_attributes(log["fields"])
    name = str(fields.pop("event", "event"))
    return Event(name, log["timestamp"], fields)


def _parse_attributes(tags: Sequence[Mapping[str, Any]]) -> dict[str, Value]:
    return {tag["key"]: tag["value"] for tag in tags}
