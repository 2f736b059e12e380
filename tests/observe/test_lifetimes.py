"""Starts, stops and failures of the service, its workers and the collector."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from tests._support.clients.api import asking
from tests._support.observe.queries import Jaeger, Prometheus, named, until
from tests._support.observe.stack_plan import Serve, plan
from tests._support.observe.traffic import ServiceClient
from tools.observe.stack import Stack, run_stack

CALLS = "traces_span_metrics_calls_total"


@pytest.fixture(scope="module")
def stack(binaries: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack of its own, since other tests check the counts of the session's."""
    with run_stack(plan(binaries, tmp_path_factory.mktemp("other-stack"))) as stack:
        yield stack


@pytest.fixture(scope="module")
def prometheus(stack: Stack) -> Prometheus:
    return Prometheus(stack.addresses.prometheus)


@pytest.fixture(scope="module")
def jaeger(stack: Stack) -> Jaeger:
    return Jaeger(stack.addresses.jaeger)


def build_runs_query(service_name: str) -> str:
    return f'{CALLS}{{service_name="{service_name}", span_name="invoke_workflow fanout"}}'


def test_two_workers_and_a_restart_give_one_correct_series(
    stack: Stack, serve: Serve, prometheus: Prometheus
) -> None:
    name = "several-processes"
    for total in (12, 24):
        with (
            serve(stack.addresses.collector, "--workers", "2", OTEL_SERVICE_NAME=name) as service,
            ExitStack() as clients,
        ):
            # One connection each, so that both workers get requests.
            for _ in range(12):
                client = ServiceClient(service.url)
                clients.callback(client.http.close)
                client.ask()
        until(lambda: prometheus.query(f"{build_runs_query(name)} == {total}"), "not counted")  # noqa: B023
    (series,) = prometheus.query(build_runs_query(name))
    assert series.value == 24
    # Never decreasing: Prometheus would take a decrease for a restart and count twice.
    (history,) = prometheus.query_range(build_runs_query(name), seconds=120, step=1)
    values = [value for _, value in history.values]
    assert values == sorted(values)


def test_both_workers_sent_spans(stack: Stack, jaeger: Jaeger) -> None:
    """Otherwise the previous test proves nothing."""
    processes = {
        span.resource["process.pid"]
        for trace_id in jaeger.traces("several-processes")
        for span in jaeger.trace(trace_id)
    }
    assert len(processes) > 2  # processes of both starts


def test_a_stopped_service_exports_the_spans_of_interrupted_runs(
    stack: Stack, serve: Serve, jaeger: Jaeger
) -> None:
    with serve(stack.addresses.collector, OTEL_SERVICE_NAME="drained", DRAIN_S="0.5") as service:
        client = ServiceClient(service.url)
        body = asking(ensemble="endless-answer")
        with client.http.stream("POST", "/api/process", json=body) as answer:
            trace_id = answer.headers["x-trace-id"]
            service.signal(signal.SIGTERM)
            assert b"shutting_down" in answer.read()
        client.http.close()
        assert service.wait() == 0
    spans = jaeger.until(trace_id, "POST /api/process", "invoke_workflow endless-answer")
    run = named(spans, "invoke_workflow endless-answer")
    assert run.attributes["app.outcome"] in {"cancelled", "failed"}
    assert named(spans, "invoke_agent llm-1").attributes["app.outcome"] == "answered"


def test_without_a_collector_the_service_continues_and_counts_lost_spans(
    binaries: Path, serve: Serve, tmp_path: Path
) -> None:
    with (
        run_stack(plan(binaries, tmp_path)) as stack,
        serve(stack.addresses.collector, OTEL_EXPORTER_OTLP_TIMEOUT="1") as service,
    ):
        client = ServiceClient(service.url)
        before = client.ask()
        Jaeger(stack.addresses.jaeger).until(before.trace_id, "POST /api/process")
        collector = stack.find("collector")
        collector.popen.kill()
        collector.popen.wait()
        for _ in range(3):
            assert client.ask().events[-1].data["status"] == "Completed"

        def lost() -> float:
            pages = client.http.get("/metrics").text.splitlines()
            return sum(
                float(line.split()[-1])
                for line in pages
                if line.startswith("telemetry_export_items_total{")
                and ('"failed"' in line or '"dropped"' in line)
            )

        until(lambda: lost() >= 3 * 11, "the spans of three runs were not counted as lost")
        assert client.ask().events[-1].data["status"] == "Completed"
        client.http.close()


def test_tail_sampling_retains_faulty_runs_and_span_metrics_count_all(
    binaries: Path, serve: Serve, tmp_path: Path
) -> None:
    # 3 s: the sampler counts full seconds, and the first may be almost over.
    waiting = plan(binaries, tmp_path, OTELCOL_DECISION_WAIT="3s", OTELCOL_SAMPLING_PERCENTAGE="0")
    sampling = replace(waiting, tail_sampling=True)
    with run_stack(sampling) as stack, serve(stack.addresses.collector) as service:
        client = ServiceClient(service.url)
        fine = client.ask()
        retained = [
            client.ask(kind, "Is this retained?") for kind in ("one-status", "again", "straggling")
        ]
        client.http.close()
        prometheus, jaeger = Prometheus(stack.addresses.prometheus), Jaeger(stack.addresses.jaeger)
        for run in retained:
            jaeger.until(run.trace_id, "POST /api/process")
        runs = f'sum({CALLS}{{span_name=~"invoke_workflow.*"}})'
        until(lambda: prometheus.query(f"{runs} == 4"), "not all were counted")
        # The first run was decided before those that are stored.
        assert jaeger.trace(fine.trace_id) == []
