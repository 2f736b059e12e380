"""Declarations of metric families: name, kind, labels, buckets and unit.

`semconv` lists every family; `metrics.registry` creates the prometheus-client metrics.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Labels = tuple[str, ...]
MultiprocessMode = Literal["livesum", "livemin", "livemax"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrument:
    """One metric family as `/metrics` shows it; a counter's name includes its `_total`."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: Labels = ()
    buckets: tuple[float, ...] = ()
    unit: str = ""
    multiprocess_mode: MultiprocessMode = "livesum"  # how the workers' gauges are combined


def exponential_buckets(first: float, last: float) -> tuple[float, ...]:
    """Return the bucket bounds `first`·2^k up to and including `last`."""
    bounds = [first]
    while bounds[-1] < last:
        bounds.append(bounds[-1] * 2)
    return tuple(bounds)


def duration_histogram(
    name: str, text: str, labels: Iterable[str], buckets: tuple[float, ...]
) -> Instrument:
    """Return a histogram of durations in seconds."""
    return Instrument(
        name=name,
        kind="histogram",
        help=text,
        labels=tuple(labels),
        buckets=buckets,
        unit="seconds",
    )


def counter(name: str, text: str, *labels: str, unit: str = "") -> Instrument:
    """Return a counter; `name` must end in `_total`."""
    return Instrument(name=name, kind="counter", help=text, labels=labels, unit=unit)


def gauge(
    name: str, text: str, *labels: str, multiprocess_mode: MultiprocessMode = "livesum"
) -> Instrument:
    """Return a gauge."""
    return Instrument(
        name=name, kind="gauge", help=text, labels=labels, multiprocess_mode=multiprocess_mode
    )
