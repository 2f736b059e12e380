"""Clients of the query APIs of Jaeger and Prometheus.

All of it blocks: the others are processes, and nothing here runs beside it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx

from tests._support.patience import PATIENCE_S

_POLL_S = 0.2

Answer = TypeVar("Answer")


def until(ask: Callable[[], Answer], why: str) -> Answer:
    """Wait for a true result and return it; fail with `why` at the timeout."""
    deadline = time.monotonic() + PATIENCE_S
    while not (answer := ask()):
        assert time.monotonic() < deadline, why
        time.sleep(_POLL_S)
    return answer


@dataclass(frozen=True)
class Sample:
    """One series now."""

    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True)
class Series:
    """One series over time: (seconds since the epoch, value)."""

    labels: Mapping[str, str]
    values: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Exemplar:
    """One exemplar: `labels` are its own, `series` are the labels of its series."""

    series: Mapping[str, str]
    labels: Mapping[str, str]
    value: float

    @property
    def trace_id(self) -> str:
        return self.labels["trace_id"]


class Prometheus:
    """Prometheus's query API. Source: https://prometheus.io/docs/prometheus/latest/querying/api/"""

    def __init__(self, url: str) -> None:
        self.url = url

    def query(self, promql: str) -> list[Sample]:
        found = self.get("/api/v1/query", query=promql)["result"]
        return [Sample(each["metric"], float(each["value"][1])) for each in found]

    def value(self, promql: str) -> float:
        """Return the value of the one series that there is."""
        (sample,) = self.query(promql)
        return sample.value

    def until(self, promql: str) -> list[Sample]:
        """Wait until the query has series, and return them."""
        return until(lambda: self.query(promql), f"no series for {promql}")

    def query_range(self, promql: str, seconds: float = 300, step: float = 5) -> list[Series]:
        """Return the series over the last `seconds`."""
        now = time.time()
        asked = {"query": promql, "start": now - seconds, "end": now, "step": step}
        return [
            Series(each["metric"], [(float(at), float(value)) for at, value in each["values"]])
            for each in self.get("/api/v1/query_range", **asked)["result"]
        ]

    def exemplars(self, promql: str, seconds: float = 3600) -> list[Exemplar]:
        """Return those of the last `seconds`."""
        now = time.time()
        found = self.get("/api/v1/query_exemplars", query=promql, start=now - seconds, end=now + 60)
        return [
            Exemplar(series["seriesLabels"], each["labels"], float(each["value"]))
            for series in found
            for each in series["exemplars"]
        ]

    def get(self, path: str, **asked: Any) -> Any:
        """Return the `data` of an answer; fails when it is an error or has warnings."""
        answer = httpx.get(self.url + path, params=asked).json()
        assert answer["status"] == "success", answer
        assert not answer.get("warnings"), answer
        return answer["data"]


@dataclass(frozen=True)
class Span:
    """One span in Jaeger; `links` are the ids of the linked spans."""

    name: str
    span_id: str
    parent_id: str
    kind: str
    is_error: bool
    start_ns: int
    end_ns: int
    attributes: Mapping[str, Any]
    resource: Mapping[str, Any]
    events: Sequence[tuple[str, Mapping[str, Any]]]
    links: Sequence[str]


Tree = tuple[str, list["Tree"]]
_KINDS = {1: "INTERNAL", 2: "SERVER", 3: "CLIENT"}
_ERROR = 2


class Jaeger:
    """Jaeger's query API with OTLP responses. Source: api_v3/query_service.proto"""

    def __init__(self, url: str) -> None:
        self.url = url

    def trace(self, trace_id: str) -> list[Span]:
        """Return the spans of a trace that Jaeger has received."""
        answer = httpx.get(f"{self.url}/api/v3/traces/{trace_id}")
        if answer.status_code == httpx.codes.NOT_FOUND:
            return []
        return _spans(answer.json())

    def until(self, trace_id: str, *names: str) -> list[Span]:
        """Wait until a trace has spans of these names, and return it."""

        def ask() -> list[Span]:
            spans = self.trace(trace_id)
            return spans if {span.name for span in spans} >= set(names) else []

        return until(ask, f"trace {trace_id} has no {names}")

    def services(self) -> list[str]:
        return list(httpx.get(f"{self.url}/api/v3/services").json()["services"])

    def traces(self, service: str) -> list[str]:
        """Return the ids of a service's traces of the last hour."""
        asked: dict[str, str | int] = {"service": service, "limit": 1000}
        found = httpx.get(f"{self.url}/api/traces", params=asked).json()["data"]
        return [trace["traceID"] for trace in found]

    def monitor(self, what: str, **asked: Any) -> list[Any]:
        """Return what the Monitor tab shows: `what` is latencies, calls or errors."""
        window: dict[str, Any] = {
            "lookback": 600_000,
            "step": 1000,
            "ratePer": 60_000,
            "groupByOperation": "true",
        }
        answer = httpx.get(f"{self.url}/api/metrics/{what}", params=window | asked)
        assert answer.status_code == httpx.codes.OK, answer.text
        return list(answer.json()["metrics"])


def _spans(answer: Mapping[str, Any]) -> list[Span]:
    found: list[Span] = []
    for group in answer["result"]["resourceSpans"]:
        resource = _attributes(group["resource"])
        for scope in group["scopeSpans"]:
            found.extend(_span(span, resource) for span in scope["spans"])
    return found


def _span(span: Mapping[str, Any], resource: Mapping[str, Any]) -> Span:
    return Span(
        name=span["name"],
        span_id=span["spanId"],
        parent_id=span.get("parentSpanId", ""),
        kind=_KINDS[span["kind"]],
        is_error=span.get("status", {}).get("code") == _ERROR,
        start_ns=int(span["startTimeUnixNano"]),
        end_ns=int(span["endTimeUnixNano"]),
        attributes=_attributes(span),
        resource=resource,
        events=[(event["name"], _attributes(event)) for event in span.get("events", ())],
        links=[link["spanId"] for link in span.get("links", ())],
    )


def _attributes(holder: Mapping[str, Any]) -> dict[str, Any]:
    return {each["key"]: _value(each["value"]) for each in holder.get("attributes", ())}


def _value(tagged: Mapping[str, Any]) -> Any:
    ((kind, value),) = tagged.items()
    if kind == "arrayValue":
        return [_value(each) for each in value["values"]]
    return int(value) if kind == "intValue" else value


def named(spans: Sequence[Span], name: str) -> Span:
    """Return the one span of this name."""
    (found,) = [span for span in spans if span.name == name]
    return found


def tree(spans: Sequence[Span], root: Span) -> Tree:
    """Return the names below a span, each level sorted."""
    return root.name, sorted(tree(spans, span) for span in spans if span.parent_id == root.span_id)
