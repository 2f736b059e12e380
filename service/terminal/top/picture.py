"""One picture of a service: the figures of the time between two samples."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from service.terminal.top.samples import MetricSamples, find_quantile

_FIRST_OUTPUT = "fanout_time_to_first_output_seconds"
_OUTCOMES = "fanout_agent_outcomes_total"


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentRates:
    """One agent: rates, and the mean time of an answer in s."""

    agent: str
    answered_per_min: float
    failed_per_min: float
    retries_per_min: float
    mean_s: float | None
    cost_usd_per_min: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsembleRates:
    """One ensemble: ended runs per minute, and the quantiles of the first output in s."""

    ensemble: str
    completed_per_min: float
    failed_per_min: float
    first_output_p50_s: float | None
    first_output_p95_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePicture:
    """A service; rates belong to the last `span_s` seconds, None: to all since its start."""

    status: str
    version: str
    span_s: float | None
    open_runs: int
    open_streams: int
    errors_per_min: float
    cost_usd_per_min: float
    open_circuits: list[str]
    ensembles: list[EnsembleRates]
    agents: list[AgentRates]

    def to_json(self) -> dict[str, Any]:
        """Return it for programs."""
        return asdict(self)


def compare(
    earlier: MetricSamples | None, later: MetricSamples, health: Mapping[str, Any]
) -> ServicePicture:
    """Return the picture of the time between two samples, or of all time up to `later`."""
    span_s = later.at_s - earlier.at_s if earlier else None
    changes = Changes(earlier or MetricSamples({}), later, span_s or _uptime_s(later))
    return ServicePicture(
        status=str(health.get("status", "unknown")),
        version=str(health.get("version", "")),
        span_s=span_s,
        open_runs=int(later.total("fanout_inflight_runs")),
        open_streams=int(later.total("fanout_open_streams")),
        errors_per_min=changes.rate("fanout_runs_total", outcome="failed"),
        cost_usd_per_min=changes.rate("fanout_cost_usd_total"),
        open_circuits=_list_circuits(later),
        ensembles=_compare_ensembles(changes),
        agents=_compare_agents(changes),
    )


class Changes:
    """The differences of counters between two samples, per minute. A restart counts from zero."""

    def __init__(self, earlier: MetricSamples, later: MetricSamples, span_s: float) -> None:
        self.earlier, self.later = earlier, later
        self._minutes = max(span_s, 0.001) / 60

    def difference(self, name: str, **labels: str) -> float:
        """Return the growth of a counter."""
        now = self.later.total(name, **labels)
        grown = now - self.earlier.total(name, **labels)
        return grown if grown >= 0 else now

    def rate(self, name: str, **labels: str) -> float:
        """Return the growth of a counter per minute."""
        return self.difference(name, **labels) / self._minutes

    def quantile(self, name: str, q: float, **labels: str) -> float | None:
        """Return a quantile of a histogram's new observations."""
        return find_quantile(
            self.earlier.buckets(name, **labels), self.later.buckets(name, **labels), q
        )


def _compare_ensembles(changes: Changes) -> list[EnsembleRates]:
    rows = [
        EnsembleRates(
            ensemble=name,
            completed_per_min=changes.rate("fanout_runs_total", workflow=name, outcome="completed"),
            failed_per_min=changes.rate("fanout_runs_total", workflow=name, outcome="failed"),
            first_output_p50_s=changes.quantile(_FIRST_OUTPUT, 0.5, workflow=name),
            first_output_p95_s=changes.quantile(_FIRST_OUTPUT, 0.95, workflow=name),
        )
        for name in changes.later.values("fanout_runs_total", "workflow")
        if changes.later.total("fanout_runs_total", workflow=name)
    ]
    return sorted(rows, key=lambda row: -row.completed_per_min - row.failed_per_min)


def _compare_agents(changes: Changes) -> list[AgentRates]:
    rows = [
        AgentRates(
            agent=name,
            answered_per_min=changes.rate(_OUTCOMES, agent=name, outcome="answered"),
            failed_per_min=changes.rate(_OUTCOMES, agent=name, outcome="failed"),
            retries_per_min=changes.rate("fanout_retries_total", agent=name),
            mean_s=_mean_s(changes, name),
            cost_usd_per_min=changes.rate("fanout_cost_usd_total", agent=name),
        )
        for name in changes.later.values(_OUTCOMES, "agent")
        if changes.later.total(_OUTCOMES, agent=name)
    ]
    return sorted(rows, key=lambda row: -row.answered_per_min - row.failed_per_min)


def _mean_s(changes: Changes, agent: str) -> float | None:
    name = "gen_ai_invoke_agent_duration_seconds"
    count = changes.difference(f"{name}_count", agent=agent)
    return changes.difference(f"{name}_sum", agent=agent) / count if count else None


def _list_circuits(metrics: MetricSamples) -> list[str]:
    return [
        f"{labels.get('model', '')} ({labels.get('provider', '')})"
        for labels, value in metrics.samples.get("fanout_open_circuits", ())
        if value
    ]


def _uptime_s(metrics: MetricSamples) -> float:
    return time.time() - metrics.total("process_start_time_seconds")
