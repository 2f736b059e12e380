"""Asks Jaeger's query API for a trace and reads what it answers.

Raises Unanswered with a sentence when Jaeger is not there or does not have the trace.
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
# The span that every run has, whichever request started it.
_RUNS = {"gen_ai.operation.name": "invoke_workflow"}

Value = str | int | float | bool


class Unanswered(Exception):
    """A question that Jaeger could not answer."""


@dataclass(frozen=True)
class Event:
    """Something that happened during a span; `at_us` since the epoch."""

    name: str
    at_us: int
    attributes: Mapping[str, Value]


@dataclass(frozen=True)
class Span:
    """One span; times in microseconds, `start_us` since the epoch, `parent_id` "" for a root."""

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
        """From the first start to the last end; a run may outlive its request."""
        return max(span.end_us for span in self.spans) - self.start_us


def find(jaeger: str, wanted: str) -> Trace:
    """Return the trace that `wanted` names: an id, an address with one in it, or "" for the latest.

    `jaeger` is the query API's address; that of an address in `wanted` goes before it.
    """
    if not wanted:
        return _latest(jaeger)
    trace_id = _ID.search(wanted.lower())
    if not trace_id:
        raise Unanswered(f"There is no trace id in {wanted!r}: it has 32 digits from 0 to f.")
    parts = urlsplit(wanted)
    base = f"{parts.scheme}://{parts.netloc}" if parts.netloc else jaeger
    found = get(base, f"/api/traces/{trace_id[0]}")
    if not found:
        raise Unanswered(f"{base} does not know trace {trace_id[0]}; spans come some seconds late.")
    return read(found[0])


def _latest(jaeger: str) -> Trace:
    query = urlencode({"service": SERVICE, "tags": json.dumps(_RUNS), "limit": _LATEST})
    found = [read(each) for each in get(jaeger, f"/api/traces?{query}")]
    if not found:
        raise Unanswered(
            f"{jaeger} has no run of the last hour. Is the service told to send its spans, and"
            " has it been asked something?"
        )
    return max(found, key=lambda trace: trace.start_us)


def get(jaeger: str, path: str) -> list[Any]:
    """Return the `data` of an answer; empty when there is none."""
    connection = http.client.HTTPConnection(urlsplit(jaeger).netloc, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", path)
        answer = json.loads(connection.getresponse().read())
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Unanswered(
            f"No Jaeger answers at {jaeger} ({error}). Is `make observe` running?"
        ) from error
    finally:
        connection.close()
    return answer.get("data") or []


def read(trace: Mapping[str, Any]) -> Trace:
    """Return one element of an answer's `data` as a trace."""
    services = [process["serviceName"] for process in trace["processes"].values()]
    return Trace(trace["traceID"], services[0], [_span(span) for span in trace["spans"]])


def _span(span: Mapping[str, Any]) -> Span:
    own = span["traceID"]
    parents = [
        reference["spanID"]
        for reference in span.get("references") or ()
        # A reference to another trace is a link.
        if reference["refType"] == "CHILD_OF" and reference["traceID"] == own
    ]
    return Span(
        span_id=span["spanID"],
        parent_id=parents[0] if parents else "",
        name=span["operationName"],
        start_us=span["startTime"],
        duration_us=span["duration"],
        attributes=_attributes(span["tags"]),
        events=[_event(log) for log in span.get("logs") or ()],
    )


def _event(log: Mapping[str, Any]) -> Event:
    fields = _attributes(log["fields"])
    name = str(fields.pop("event", "event"))
    return Event(name, log["timestamp"], fields)


def _attributes(tags: Sequence[Mapping[str, Any]]) -> dict[str, Value]:
    return {tag["key"]: tag["value"] for tag in tags}
