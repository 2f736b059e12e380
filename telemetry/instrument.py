"""What a metric family is: its name, kind, labels, buckets and unit; `semconv` lists them all."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Labels = tuple[str, ...]
Across = Literal["livesum", "livemin", "livemax"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrument:
    """One metric family as `/metrics` shows it; counters are named with their `_total`."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: Labels = ()
    buckets: tuple[float, ...] = ()
    unit: str = ""
    across: Across = "livesum"  # what the workers' gauges make together


def doubling(first: float, last: float) -> tuple[float, ...]:
    """Return the bucket bounds `first`·2^k up to and including `last`."""
    bounds = [first]
    while bounds[-1] < last:
        bounds.append(bounds[-1] * 2)
    return tuple(bounds)


def seconds(name: str, text: str, labels: Iterable[str], buckets: tuple[float, ...]) -> Instrument:
    """Return a histogram of durations."""
    return Instrument(
        name=name,
        kind="histogram",
        help=text,
        labels=tuple(labels),
        buckets=buckets,
        unit="seconds",
    )


def counter(name: str, text: str, *labels: str, unit: str = "") -> Instrument:
    """Return a counter; its name ends in `_total`."""
    return Instrument(name=name, kind="counter", help=text, labels=labels, unit=unit)


def gauge(name: str, text: str, *labels: str, across: Across = "livesum") -> Instrument:
    """Return a gauge."""
    return Instrument(name=name, kind="gauge", help=text, labels=labels, across=across)
