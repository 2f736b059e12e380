"""Metrics in Prometheus: the service's, the span metrics, and their exemplars."""

from __future__ import annotations

import subprocess
from pathlib import Path

import httpx
import pytest

from tests._support.observe.queries import Jaeger, Prometheus, until
from tests._support.observe.traffic import ServiceClient, Traffic
from tests._support.servers.processes import Process

RUNS = Traffic.RUNS
CALLS = "traces_span_metrics_calls_total"
DURATION = "traces_span_metrics_duration_seconds"


def test_every_target_is_scraped(traffic: Traffic, prometheus: Prometheus) -> None:
    targets = prometheus.get("/api/v1/targets")["activeTargets"]
    assert {target["labels"]["job"]: target["health"] for target in targets} == {
        "app": "up",
        "span-metrics": "up",
        "collector": "up",
    }
    assert [target["lastError"] for target in targets] == ["", "", ""]


@pytest.mark.parametrize(("ensemble", "runs"), RUNS.items())
def test_span_metrics_count_all_spans(
    traffic: Traffic, prometheus: Prometheus, ensemble: str, runs: int
) -> None:
    assert prometheus.value(f'{CALLS}{{span_name="invoke_workflow {ensemble}"}}') == runs
    assert prometheus.value(f'{DURATION}_count{{span_name="invoke_workflow {ensemble}"}}') == runs


def test_spans_are_counted_by_agent_model_route_and_error(
    traffic: Traffic, prometheus: Prometheus
) -> None:
    quick = "mock?tokens=20&first_ms=5&gap_ms=2&seed=1"
    asked = f'gen_ai_agent_name="llm-1", gen_ai_request_model="{quick}"'
    # In every ensemble of the traffic but both-bad and endless.
    assert prometheus.value(f"{CALLS}{{{asked}}}") == sum(RUNS.values()) - 2
    assert prometheus.value(f'{CALLS}{{http_route="/api/process"}}') == sum(RUNS.values())
    (failed,) = prometheus.query(f'{CALLS}{{span_name="invoke_agent bad-status"}}')
    assert failed.value == 2  # in one-status and in both-bad
    assert failed.labels["gen_ai_agent_name"] == "bad-status"
    assert failed.labels["status_code"] == "STATUS_CODE_ERROR"
    assert failed.labels["error_type"]
    (run,) = prometheus.query(f'{CALLS}{{span_name="invoke_workflow both-bad"}}')
    assert run.labels["error_type"] == "too_few_answers"
    well = prometheus.query(f'{CALLS}{{gen_ai_agent_name="llm-1", error_type!=""}}')
    assert well == []


def test_span_metrics_agree_with_the_metrics_of_the_service(
    traffic: Traffic, prometheus: Prometheus
) -> None:
    ours = {
        sample.labels["agent"]: sample.value
        for sample in prometheus.query("sum by (agent) (fanout_agent_outcomes_total) > 0")
    }
    from_spans = {
        sample.labels["gen_ai_agent_name"]: sample.value
        for sample in prometheus.query(
            f'sum by (gen_ai_agent_name) ({CALLS}{{span_name=~"invoke_agent.*"}})'
        )
    }
    assert ours == from_spans


def test_durations_are_in_seconds(traffic: Traffic, prometheus: Prometheus, jaeger: Jaeger) -> None:
    (run,) = prometheus.query(f'{DURATION}_sum{{span_name="invoke_workflow straggling"}}')
    spans = jaeger.trace(traffic.straggler.trace_id)
    (span,) = [span for span in spans if span.name == "invoke_workflow straggling"]
    assert run.value == pytest.approx((span.end_ns - span.start_ns) / 1e9, abs=1e-3)
    bounds = {s.labels["le"] for s in prometheus.query(f"{DURATION}_bucket")}
    assert {"0.01", "160.0", "+Inf"} <= bounds


def test_the_labels_of_a_series_name_only_the_service(
    traffic: Traffic, prometheus: Prometheus
) -> None:
    for sample in prometheus.query(CALLS):
        assert sample.labels["service_name"] == "llm-sse-service"
        assert sample.labels["job"] == "span-metrics"
        assert not sample.labels.keys() & {"exported_instance", "exported_job", "process_pid"}
        assert "collector_instance_id" not in sample.labels
    assert prometheus.query('target_info{job="span-metrics"}') == []


@pytest.mark.parametrize(
    "histogram",
    [
        "fanout_time_to_first_output_seconds",
        "gen_ai_invoke_agent_duration_seconds",
        "gen_ai_invoke_workflow_duration_seconds",
        "http_server_request_duration_seconds",
        DURATION,
    ],
)
def test_an_exemplar_has_a_trace_in_jaeger(
    traffic: Traffic, prometheus: Prometheus, jaeger: Jaeger, histogram: str
) -> None:
    found = until(
        lambda: prometheus.exemplars(f"{histogram}_bucket"), f"no exemplars for {histogram}"
    )
    for trace_id in {exemplar.trace_id for exemplar in found}:
        assert until(lambda: jaeger.trace(trace_id), "nothing there")  # noqa: B023


def test_the_exemplar_of_the_failed_agent_is_its_trace(
    traffic: Traffic, prometheus: Prometheus
) -> None:
    of_it = 'gen_ai_invoke_agent_duration_seconds_bucket{agent="bad-status"}'
    traces = {exemplar.trace_id for exemplar in prometheus.exemplars(of_it)}
    assert traces <= {traffic.failed_agent.trace_id, traffic.failed.trace_id}
    assert traces


def operations(jaeger: Jaeger, what: str, kind: str, **more: float) -> set[str]:
    """Return the operations with data in the Monitor tab."""
    asked = {"service": "llm-sse-service", "spanKind": kind, **more}
    shown = until(lambda: jaeger.monitor(what, **asked), f"no {what}")
    labels = [label for series in shown for label in series["labels"]]
    return {label["value"] for label in labels if label["name"] == "operation"}


@pytest.mark.parametrize(
    ("kind", "operation", "failed"),
    [
        ("server", "POST /api/process", "POST /api/process"),  # none did, which it shows as 0
        ("internal", "invoke_workflow fanout", "invoke_agent bad-status"),
        ("client", "POST", "chat mock?fault=status&status=500"),
    ],
)
def test_jaegers_monitor_tab_has_calls_latencies_and_errors(
    traffic: Traffic, jaeger: Jaeger, kind: str, operation: str, failed: str
) -> None:
    assert operation in operations(jaeger, "calls", kind)
    assert operation in operations(jaeger, "latencies", kind, quantile=0.95)
    assert failed in operations(jaeger, "errors", kind)


def test_the_alert_rules_are_evaluated_without_errors(
    traffic: Traffic, prometheus: Prometheus
) -> None:
    def rules() -> list[dict[str, str]]:
        groups = prometheus.get("/api/v1/rules")["groups"]
        found = [rule for group in groups for rule in group["rules"]]
        return [] if any(rule["health"] == "unknown" for rule in found) else found

    evaluated = until(rules, "some rule was not evaluated")
    assert len(evaluated) >= 10
    assert {rule["health"] for rule in evaluated} == {"ok"}


@pytest.mark.parametrize("accept", ["text/plain", "application/openmetrics-text;version=1.0.0"])
def test_promtool_accepts_the_metrics_page(
    traffic: Traffic, service: Process, binaries: Path, accept: str
) -> None:
    page = httpx.get(f"{service.url}/metrics", headers={"Accept": accept})
    assert page.headers["content-type"].startswith(accept.partition(";")[0])
    if accept == "text/plain":
        done = subprocess.run(
            [binaries / "promtool", "check", "metrics"], input=page.content, capture_output=True
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    else:
        assert page.text.endswith("# EOF\n")
        assert f'trace_id="{traffic.failed.trace_id}"' in page.text


def test_the_export_to_the_collector_is_counted(traffic: Traffic, service: Process) -> None:
    client = ServiceClient(service.url)

    def sent() -> float:
        return client.metric('telemetry_export_items_total{signal="traces",outcome="sent"}') or (
            client.metric('telemetry_export_items_total{outcome="sent",signal="traces"}')
        )

    assert until(sent, "nothing sent") >= 11 * RUNS["fanout"]
    client.http.close()
