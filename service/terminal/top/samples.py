"""The metrics of a service at one moment, in Prometheus' text format."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from time import monotonic

from prometheus_client.parser import text_string_to_metric_families

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class MetricSamples:
    """The samples by name, each with its labels; `at_s` is the time of the request."""

    samples: Mapping[str, list[tuple[Labels, float]]]
    at_s: float = field(default_factory=monotonic)

    def total(self, name: str, **labels: str) -> float:
        """Return the sum of the samples with these labels."""
        return sum(value for _, value in self._select(name, labels))

    def values(self, name: str, label: str) -> list[str]:
        """Return the values of a label."""
        return list(
            dict.fromkeys(labels.get(label, "") for labels, _ in self.samples.get(name, ()))
        )

    def buckets(self, name: str, **labels: str) -> dict[float, float]:
        """Return the cumulative counts of a histogram by upper bound in its unit."""
        found: dict[float, float] = defaultdict(float)
        for each, value in self._select(f"{name}_bucket", labels):
            found[float(each["le"])] += value
        return dict(sorted(found.items()))

    def _select(self, name: str, wanted: Labels) -> Iterator[tuple[Labels, float]]:
        for labels, value in self.samples.get(name, ()):
            if wanted.items() <= labels.items():
                yield labels, value


def parse_metrics(text: str) -> MetricSamples:
    """Return the samples of `GET /metrics`. Raises ValueError for another format."""
    samples: dict[str, list[tuple[Labels, float]]] = defaultdict(list)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            samples[sample.name].append((sample.labels, sample.value))
    return MetricSamples(samples)


def find_quantile(
    earlier: Mapping[float, float], later: Mapping[float, float], q: float
) -> float | None:
    """Return the quantile `q` of the observations between two moments, None without any.

    It is interpolated within its bucket, as Prometheus does.
    """
    counts = {bound: count - earlier.get(bound, 0.0) for bound, count in later.items()}
    total = max(counts.values(), default=0.0)
    if total <= 0:
        return None
    lower, before = 0.0, 0.0
    for bound, count in counts.items():
        if count >= q * total:
            if bound == float("inf"):
                return lower
            share = (q * total - before) / (count - before) if count > before else 1.0
            return lower + (bound - lower) * share
        lower, before = bound, count
    return lower
