"""A trace as rows to draw: the tree of its spans, with notes and errors.

Knows the service's attribute names, but not the output format.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from tools.observe.jaeger import Event, Span, Trace, Value

Mark = Literal["", "error", "cancelled"]

_ONE_MS, _ONE_S = 1_000, 1_000_000
_CENT = 0.01


@dataclass(frozen=True)
class Row:
    """One span in the tree; `branch` contains the tree lines before its name."""

    span: Span
    depth: int
    branch: str
    below: str  # the tree lines before the events under it

    @property
    def mark(self) -> Mark:
        attributes = self.span.attributes
        if attributes.get("error") is True or attributes.get("otel.status_code") == "ERROR":
            return "error"
        return "cancelled" if attributes.get("app.cancelled") is True else ""

    @property
    def verdict(self) -> str:
        """The error, cancellation or disconnect of the span; "" if it ended well."""
        attributes = self.span.attributes
        if self.mark == "error":
            return f"ERROR {attributes.get('error.type', '')}".strip()
        if self.mark == "cancelled":
            return str(attributes.get("app.outcome", "cancelled"))
        return "client left" if attributes.get("app.client_disconnected") is True else ""

    @property
    def note(self) -> str:
        """The outcome, tokens, cost and time to the first chunk, if known."""
        return ", ".join(_list_facts(self.span.attributes, self.mark))

    @property
    def waiting_us(self) -> int:
        """The time until the first chunk of the answer."""
        first_s = self.span.attributes.get("gen_ai.response.time_to_first_chunk", 0)
        return round(float(first_s) * _ONE_S)


def build_rows(trace: Trace) -> Iterator[Row]:
    """Yield the spans from the root down, each level in the order of the start times."""
    known = {span.span_id for span in trace.spans}
    below: dict[str, list[Span]] = {}
    for span in sorted(trace.spans, key=lambda span: (span.start_us, span.name)):
        below.setdefault(span.parent_id if span.parent_id in known else "", []).append(span)
    for root in below.get("", []):
        yield from _build_subtree(root, below, 0, "", "")


def _build_subtree(
    span: Span, below: Mapping[str, list[Span]], depth: int, branch: str, indent: str
) -> Iterator[Row]:
    children = below.get(span.span_id, [])
    yield Row(span, depth, branch, indent + ("│ " if children else "  "))
    for child in children:
        is_last = child is children[-1]
        under = indent + ("  " if is_last else "│ ")
        yield from _build_subtree(
            child, below, depth + 1, indent + ("└ " if is_last else "├ "), under
        )


def _list_facts(attributes: Mapping[str, Value], mark: Mark) -> Iterator[str]:
    if (
        "http.response.status_code" in attributes and mark != "error"
    ):  # its error.type is the status code
        yield str(attributes["http.response.status_code"])
    if "app.outcome" in attributes and not mark:
        yield str(attributes["app.outcome"])
    if "gen_ai.usage.output_tokens" in attributes:
        tokens_in = attributes.get("gen_ai.usage.input_tokens", 0)
        yield f"{tokens_in} tokens in, {attributes['gen_ai.usage.output_tokens']} out"
    if "app.cost_usd" in attributes:
        yield format_cost(float(attributes["app.cost_usd"]))
    if "gen_ai.response.time_to_first_chunk" in attributes:
        first_s = float(attributes["gen_ai.response.time_to_first_chunk"])
        yield f"first after {format_duration(round(first_s * _ONE_S))}"


def format_event(event: Event) -> str:
    """Return an event's name and its attributes without their namespace."""
    attributes = (
        f"{key.removeprefix('app.')}={round(value, 3) if isinstance(value, float) else value}"
        for key, value in sorted(event.attributes.items())
    )
    return " ".join([event.name, *attributes])


def format_totals(trace: Trace) -> str:
    """Return one line with the service, duration, spans and errors of the trace."""
    count = len(trace.spans)
    errors = sum(row.mark == "error" for row in build_rows(trace))
    with_errors = f", {errors} with errors" if errors else ""
    return f"{trace.service}, {format_duration(trace.duration_us)}, {count} spans{with_errors}"


def format_duration(us: int) -> str:
    """Return microseconds as text in µs, ms or s."""
    if us < _ONE_MS:
        return f"{us} µs"
    if us < _ONE_S:
        return f"{us / _ONE_MS:.{1 if us < 10 * _ONE_MS else 0}f} ms"
    return f"{us / _ONE_S:.2f} s"


def format_cost(usd: float) -> str:
    """Return US dollars as text, with more digits for amounts below a cent."""
    return f"${usd:.2f}" if usd >= _CENT or not usd else f"${usd:.6f}".rstrip("0")
