"""A trace as rows to draw: which span under which, what to say beside each, what went wrong.

Knows the service's attribute names; nothing of terminals and pictures.
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
    """One span in its place: `branch` is the line art before its name."""

    span: Span
    depth: int
    branch: str
    below: str  # the line art before what is written under it

    @property
    def mark(self) -> Mark:
        attributes = self.span.attributes
        if attributes.get("error") is True or attributes.get("otel.status_code") == "ERROR":
            return "error"
        return "cancelled" if attributes.get("app.cancelled") is True else ""

    @property
    def verdict(self) -> str:
        """What went wrong, in the words of the span; "" when nothing did."""
        attributes = self.span.attributes
        if self.mark == "error":
            return f"ERROR {attributes.get('error.type', '')}".strip()
        if self.mark == "cancelled":
            return str(attributes.get("app.outcome", "cancelled"))
        return "client left" if attributes.get("app.client_disconnected") is True else ""

    @property
    def note(self) -> str:
        """What is worth a look: outcome, tokens, cost, the wait for the first."""
        return ", ".join(_noted(self.span.attributes, self.mark))

    @property
    def waiting_us(self) -> int:
        """How much of the span went by before the first chunk of its answer."""
        first_s = self.span.attributes.get("gen_ai.response.time_to_first_chunk", 0)
        return round(float(first_s) * _ONE_S)


def rows(trace: Trace) -> Iterator[Row]:
    """Yield the spans from the top down, each level in the order of its start."""
    known = {span.span_id for span in trace.spans}
    below: dict[str, list[Span]] = {}
    for span in sorted(trace.spans, key=lambda span: (span.start_us, span.name)):
        below.setdefault(span.parent_id if span.parent_id in known else "", []).append(span)
    for root in below.get("", []):
        yield from _under(root, below, 0, "", "")


def _under(
    span: Span, below: Mapping[str, list[Span]], depth: int, branch: str, indent: str
) -> Iterator[Row]:
    children = below.get(span.span_id, [])
    yield Row(span, depth, branch, indent + ("│ " if children else "  "))
    for child in children:
        is_last = child is children[-1]
        under = indent + ("  " if is_last else "│ ")
        yield from _under(child, below, depth + 1, indent + ("└ " if is_last else "├ "), under)


def _noted(attributes: Mapping[str, Value], mark: Mark) -> Iterator[str]:
    if "http.response.status_code" in attributes and mark != "error":  # its type is the number
        yield str(attributes["http.response.status_code"])
    if "app.outcome" in attributes and not mark:
        yield str(attributes["app.outcome"])
    if "gen_ai.usage.output_tokens" in attributes:
        tokens_in = attributes.get("gen_ai.usage.input_tokens", 0)
        yield f"{tokens_in} tokens in, {attributes['gen_ai.usage.output_tokens']} out"
    if "app.cost_usd" in attributes:
        yield money(float(attributes["app.cost_usd"]))
    if "gen_ai.response.time_to_first_chunk" in attributes:
        first_s = float(attributes["gen_ai.response.time_to_first_chunk"])
        yield f"first after {duration(round(first_s * _ONE_S))}"


def said(event: Event) -> str:
    """Return an event's name with what it carries, without its namespace."""
    carried = (
        f"{key.removeprefix('app.')}={round(value, 3) if isinstance(value, float) else value}"
        for key, value in sorted(event.attributes.items())
    )
    return " ".join([event.name, *carried])


def totals(trace: Trace) -> str:
    """Return what the whole trace comes to, in one line."""
    count = len(trace.spans)
    errors = sum(row.mark == "error" for row in rows(trace))
    wrong = f", {errors} with errors" if errors else ""
    return f"{trace.service}, {duration(trace.duration_us)}, {count} spans{wrong}"


def duration(us: int) -> str:
    """Return microseconds in the unit that suits them."""
    if us < _ONE_MS:
        return f"{us} µs"
    if us < _ONE_S:
        return f"{us / _ONE_MS:.{1 if us < 10 * _ONE_MS else 0}f} ms"
    return f"{us / _ONE_S:.2f} s"


def money(usd: float) -> str:
    """Return US dollars, small ones too."""
    return f"${usd:.2f}" if usd >= _CENT or not usd else f"${usd:.6f}".rstrip("0")
