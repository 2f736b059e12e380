"""The prometheus-client instruments and the /metrics page.

Creates the families that `semconv` declares; knows nothing of spans except an exemplar's trace id.
After `share_metrics`, every worker writes to files in one directory and any worker's page shows the
sum. Each start of the service needs an empty directory: files of an earlier start would be added to
the sum.

Source: https://prometheus.github.io/client_python/multiprocess/
"""

import importlib
import os
from collections.abc import Iterable, Iterator
from itertools import product
from typing import Generic, TypeVar

from opentelemetry.trace import SpanContext
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    values,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from telemetry import semconv
from telemetry.instrument import Instrument
from telemetry.metrics.labels import LabelSets

Child = TypeVar("Child", Counter, Gauge, Histogram)

_WORKERS_DIR = "PROMETHEUS_MULTIPROC_DIR"
_CACHE_LIMIT = 1024


class MetricFamily(Generic[Child]):
    """One metric with cached series: a look-up takes 0.2 µs, in prometheus-client 1.1 µs."""

    __slots__ = ("_labels", "_metric", "_names", "_series", "_version")

    def __init__(self, metric: Child, names: tuple[str, ...], labels: LabelSets) -> None:
        self._metric: Child = metric
        self._names = names
        self._labels = labels
        self._series: dict[tuple[str, ...], Child] = {}  # keys: the values before admission
        self._version = labels.version

    def child(self, *label_values: str) -> Child:
        """Return the series for these label values; a value outside its set becomes `_OTHER`."""
        found = self._series.get(label_values)
        if found is not None and self._version == self._labels.version:
            return found
        if not self._names:
            return self._metric
        if self._version != self._labels.version or len(self._series) >= _CACHE_LIMIT:
            self._series.clear()
            self._version = self._labels.version
        admit = self._labels.admit
        pairs = zip(self._names, label_values, strict=True)
        admitted = [admit(name, value) for name, value in pairs]
        found = self._series[label_values] = self._metric.labels(*admitted)
        return found


class _WithoutCreatedSamples(Collector):
    """A registry without the `_created` samples, the creation times of its series.

    From a creation time Prometheus knows that a series which it first sees at 1 was 0 before;
    without it a rate misses an event that happens only once. Only OpenMetrics has a place for
    creation times (other formats would show a family for each), and metrics of several workers
    have none.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        for family in self._registry.collect():
            family.samples = [each for each in family.samples if not each.name.endswith("_created")]
            yield family


class Metrics:
    """All instruments of one process, on their own registry.

    Raises RuntimeError when PROMETHEUS_MULTIPROC_DIR was set without `share_metrics`, after
    prometheus_client was imported.
    """

    def __init__(self, labels: LabelSets) -> None:
        self.labels = labels
        self.registry = CollectorRegistry()
        self.multiprocess = values.ValueClass is not values.MutexValue
        if self.multiprocess != bool(os.environ.get(_WORKERS_DIR)):
            raise RuntimeError(f"{_WORKERS_DIR} must be set before prometheus_client is imported.")
        self.request_duration = self._histogram(semconv.REQUEST_DURATION)
        self.active_requests = self._gauge(semconv.ACTIVE_REQUESTS)
        self.call_duration = self._histogram(semconv.CALL_DURATION)
        self.call_first_chunk = self._histogram(semconv.CALL_FIRST_CHUNK)
        self.call_per_chunk = self._histogram(semconv.CALL_PER_CHUNK)
        self.token_usage = self._histogram(semconv.TOKEN_USAGE)
        self.agent_duration = self._histogram(semconv.AGENT_DURATION)
        self.workflow_duration = self._histogram(semconv.WORKFLOW_DURATION)
        self.first_output = self._histogram(semconv.FIRST_OUTPUT)
        self.agent_outcomes = self._counter(semconv.AGENT_OUTCOMES)
        self.runs = self._counter(semconv.RUNS)
        self.degraded_runs = self._counter(semconv.DEGRADED_RUNS)
        self.retries = self._counter(semconv.RETRIES)
        self.hedges = self._counter(semconv.HEDGES)
        self.refused_hedges = self._counter(semconv.REFUSED_HEDGES)
        self.straggler_cuts = self._counter(semconv.STRAGGLER_CUTS)
        self.step_downs = self._counter(semconv.STEP_DOWNS)
        self.gate_outcomes = self._counter(semconv.GATE_OUTCOMES)
        self.feedback = self._counter(semconv.FEEDBACK)
        self.cost = self._counter(semconv.COST)
        self.inflight_runs = self._gauge(semconv.INFLIGHT_RUNS).child()
        self.open_streams = self._gauge(semconv.OPEN_STREAMS).child()
        self.disconnects = self._counter(semconv.DISCONNECTS).child()
        self.resumes = self._counter(semconv.RESUMES).child()
        self.context_trims = self._counter(semconv.CONTEXT_TRIMS)
        self.reservations = self._counter(semconv.RESERVATIONS)
        self.recoveries = self._counter(semconv.RECOVERIES)
        self.continuations = self._counter(semconv.CONTINUATIONS)
        self.open_circuits = self._gauge(semconv.OPEN_CIRCUITS)
        self.circuit_changes = self._counter(semconv.CIRCUIT_CHANGES)
        self.refused_calls = self._counter(semconv.REFUSED_CALLS)
        self.limit_wait = self._histogram(semconv.LIMIT_WAIT)
        self.limit_requests = self._counter(semconv.LIMIT_REQUESTS)
        self.limit_fallbacks = self._counter(semconv.LIMIT_FALLBACKS).child()
        self.store_duration = self._histogram(semconv.STORE_DURATION)
        self.store_rejections = self._counter(semconv.STORE_REJECTIONS)
        self.journal_lag = self._histogram(semconv.JOURNAL_LAG).child()
        self.journal_failures = self._counter(semconv.JOURNAL_FAILURES)
        self.journal_pending = self._gauge(semconv.JOURNAL_PENDING).child()
        self.journal_oldest = self._gauge(semconv.JOURNAL_OLDEST).child()
        self.process_memory = self._gauge(semconv.PROCESS_MEMORY).child()
        self.process_cpu = self._counter(semconv.PROCESS_CPU).child()
        self.process_open_fds = self._gauge(semconv.PROCESS_OPEN_FDS).child()
        self.process_max_fds = self._gauge(semconv.PROCESS_MAX_FDS).child()
        self.process_start = self._gauge(semconv.PROCESS_START).child()
        self.loop_lag = self._histogram(semconv.LOOP_LAG).child()
        self.export_duration = self._histogram(semconv.EXPORT_DURATION)
        self.export_items = self._counter(semconv.EXPORT_ITEMS)
        self.export_queue = self._gauge(semconv.EXPORT_QUEUE)

    def initialize_series(self, workflows: Iterable[str], agents: Iterable[str]) -> None:
        """Create the expected series at 0, so that a first event is an increase."""
        for outcome in semconv.OUTCOMES_OF_RESERVATIONS:
            self.reservations.child(outcome)
        for subject, kind in product(semconv.SUBJECTS_OF_FEEDBACK, semconv.KINDS_OF_FEEDBACK):
            self.feedback.child(subject, kind)
        for name in workflows:
            for outcome in semconv.OUTCOMES_OF_RUNS:
                self.runs.child(name, outcome)
            for reason in semconv.REASONS_OF_DEGRADATION:
                self.degraded_runs.child(name, reason)
        for name in agents:
            for outcome in semconv.OUTCOMES_OF_AGENTS:
                self.agent_outcomes.child(name, outcome)
            for reason in semconv.REASONS_OF_HEDGES:
                self.hedges.child(name, reason)
            for reason in semconv.REASONS_OF_CUTS:
                self.straggler_cuts.child(name, reason)
            self.refused_hedges.child(name)

    def exemplar(self, span: SpanContext) -> dict[str, str] | None:
        """Return the exemplar for an observation within `span`, or None if it is not sampled.

        Several workers have no exemplars: prometheus-client's files cannot store them.
        """
        if self.multiprocess or not span.trace_flags.sampled:
            return None
        return {"trace_id": format(span.trace_id, "032x")}

    def render(self, accept: str) -> tuple[bytes, str]:
        """Return the /metrics body and its content type, chosen from the Accept header."""
        registry = self.registry
        if self.multiprocess:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call] # untyped in the library
        encode, content_type = choose_encoder(accept)
        if "openmetrics" in content_type:
            return encode(registry), content_type
        return encode(_WithoutCreatedSamples(registry)), content_type

    def _histogram(self, spec: Instrument) -> MetricFamily[Histogram]:
        metric = Histogram(
            spec.name,
            spec.help,
            spec.labels,
            unit=spec.unit,
            registry=self.registry,
            buckets=spec.buckets,
        )
        return MetricFamily(metric, spec.labels, self.labels)

    def _counter(self, spec: Instrument) -> MetricFamily[Counter]:
        metric = Counter(spec.name, spec.help, spec.labels, unit=spec.unit, registry=self.registry)
        return MetricFamily(metric, spec.labels, self.labels)

    def _gauge(self, spec: Instrument) -> MetricFamily[Gauge]:
        metric = Gauge(
            spec.name,
            spec.help,
            spec.labels,
            unit=spec.unit,
            registry=self.registry,
            multiprocess_mode=spec.multiprocess_mode,
        )
        return MetricFamily(metric, spec.labels, self.labels)


def share_metrics(folder: str) -> None:
    """Write the metrics of this process and of its later forks to files in `folder`.

    To be called before `Metrics` is created: prometheus-client chooses when it is imported, and a
    worker is a fork of a process that has imported it.
    """
    os.environ[_WORKERS_DIR] = folder
    importlib.reload(values)


def forget_worker(pid: int) -> None:
    """Remove the gauges of a worker that ended; the supervising process calls this."""
    if os.environ.get(_WORKERS_DIR):
        mark_process_dead(pid)  # type: ignore[no-untyped-call] # untyped in the library
