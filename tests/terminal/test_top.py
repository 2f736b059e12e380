"""The figures of `top` from two samples of the metrics."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from service.terminal.top.picture import compare
from service.terminal.top.samples import MetricSamples, find_quantile, parse_metrics

_TEXT = """\
# TYPE fanout_runs counter
fanout_runs_total{{workflow="fanout",outcome="completed"}} {completed}
fanout_runs_total{{workflow="fanout",outcome="failed"}} {failed}
fanout_runs_total{{workflow="unused",outcome="failed"}} 0
# TYPE fanout_inflight_runs gauge
fanout_inflight_runs 3
# TYPE fanout_agent_outcomes counter
fanout_agent_outcomes_total{{agent="llm-1",outcome="answered"}} {completed}
# TYPE fanout_cost_usd counter
fanout_cost_usd_total{{agent="llm-1",model="m"}} {cost}
# TYPE fanout_open_circuits gauge
fanout_open_circuits{{provider="openai",model="m"}} 1
"""
HEALTH = {"status": "ok", "version": "1"}


def _metrics(at_s: float, completed: int, failed: int, cost: float) -> MetricSamples:
    text = _TEXT.format(completed=completed, failed=failed, cost=cost)
    return replace(parse_metrics(text), at_s=at_s)


def test_rates_belong_to_the_time_between_two_samples() -> None:
    picture = compare(_metrics(0, 10, 1, 0.5), _metrics(30, 40, 2, 0.6), HEALTH)
    [row] = picture.ensembles
    assert (row.ensemble, row.completed_per_min, row.failed_per_min) == ("fanout", 60.0, 2.0)
    assert picture.cost_usd_per_min == pytest.approx(0.2)
    assert picture.open_runs == 3
    assert picture.open_circuits == ["m (openai)"]
    assert picture.agents[0].answered_per_min == 60.0


def test_a_restarted_service_counts_from_zero() -> None:
    picture = compare(_metrics(0, 1_000, 9, 5.0), _metrics(60, 6, 0, 0.1), HEALTH)
    assert picture.ensembles[0].completed_per_min == 6.0
    assert picture.errors_per_min == 0


def test_the_quantile_of_a_histogram_is_interpolated() -> None:
    later = {1.0: 10.0, 2.0: 20.0, math.inf: 20.0}
    assert find_quantile({}, later, 0.5) == 1.0
    assert find_quantile({}, later, 0.75) == 1.5
    assert find_quantile(later, later, 0.5) is None
    assert find_quantile({}, {1.0: 0.0, math.inf: 4.0}, 0.95) == 1.0
