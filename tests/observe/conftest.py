"""A live stack for these tests: collector, Jaeger, Prometheus and the service, all processes.

Fixtures, all for the session and all made once, when a test first asks for them:

    binaries     the folder with the programs, built if they are missing
    stack        collector, Jaeger and Prometheus, started with the project's configuration
                 files on free ports; `stack.addresses` has their addresses
    prometheus   its query API (clients.py):
                     query(promql) -> list[Sample]; a Sample has `labels` and `value`
                     value(promql) -> float; of the only series there is
                     until(promql) -> list[Sample]; waits until there are series
                     query_range(promql, seconds, step) -> list[Series]; `labels` and `values`
                     exemplars(promql) -> list[Exemplar]; `labels`, `trace_id`, `value`, `series`
                     url
    jaeger       its query API: trace(trace_id) -> list[Span], until(trace_id, *names) -> the same,
                 once it has spans of these names; traces(service) -> ids; services(); monitor()
    service      the service as a process, sending its spans to the stack and scraped by it
    traffic      the same service after a run of every kind, once Prometheus and Jaeger have seen
                 them all; see Traffic. Use this one to test dashboards.
    mock_llm     the models, as a process

Without Go the programs cannot be built; the tests then fail if CI is set, and skip otherwise.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests._support.llm import ensembles
from tests._support.observe.queries import Jaeger, Prometheus, until
from tests._support.observe.stack_plan import Serve, plan
from tests._support.observe.traffic import ServiceClient, Traffic
from tests._support.servers.processes import Process, run_server
from tools.observe import addresses
from tools.observe.build import build, is_built
from tools.observe.golang import BuildError
from tools.observe.stack import Stack, run_stack

HERE = Path(__file__).parent
BUILDING_S = 1800


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Extend the time limit of these tests when the programs must be built."""
    if not is_built(for_tests=True):
        for item in items:
            if HERE in item.path.parents:
                item.add_marker(pytest.mark.timeout(BUILDING_S))


@pytest.fixture(scope="session")
def binaries() -> Path:
    try:
        return build(lambda line: print(line, file=sys.__stderr__), for_tests=True)
    except BuildError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(f"The stack cannot be built here. {error}")


@pytest.fixture(scope="session")
def app_port() -> int:
    """A port for the service, known before it runs."""
    return addresses.find_free().jaeger_port


@pytest.fixture(scope="session")
def stack(
    binaries: Path, app_port: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    with run_stack(plan(binaries, tmp_path_factory.mktemp("stack"), app_port)) as stack:
        yield stack


@pytest.fixture(scope="session")
def prometheus(stack: Stack) -> Prometheus:
    return Prometheus(stack.addresses.prometheus)


@pytest.fixture(scope="session")
def jaeger(stack: Stack) -> Jaeger:
    return Jaeger(stack.addresses.jaeger)


@pytest.fixture(scope="session")
def serve(mock_llm: Process, tmp_path_factory: pytest.TempPathFactory) -> Serve:
    """Run a service: `with serve(endpoint, "--workers", "2", DRAIN_S="1") as process:`."""

    @contextmanager
    def serving(endpoint: str, *arguments: str, **settings: str) -> Iterator[Process]:
        folder = tmp_path_factory.mktemp("service")
        file = folder / "some-ensembles.toml"
        file.write_text(ensembles.toml(base_url=mock_llm.url))
        told = {
            "USE_LLM_MOCK": "false",
            "LLM_BASE_URL": mock_llm.url,
            "LLM_KEY": "sk-none",
            "ENSEMBLES_FILE": str(file),
            "DETACH_GRACE_S": "0.5",
            "DRAIN_S": "1",
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
            "OTEL_BSP_SCHEDULE_DELAY": "200",
            **settings,
        }
        port = () if "--port" in arguments else ("--port", "0")
        with run_server(folder, "serve", *port, *arguments, **told) as process:
            yield process

    return serving


@pytest.fixture(scope="session")
def service(stack: Stack, serve: Serve, app_port: int) -> Iterator[Process]:
    """The service that Prometheus scrapes; it sends its log records too."""
    with serve(
        stack.addresses.collector, "--port", str(app_port), OTEL_LOGS_EXPORTER="otlp"
    ) as process:
        yield process


@pytest.fixture(scope="session")
def traffic(service: Process, jaeger: Jaeger, prometheus: Prometheus) -> Traffic:
    # The first scrape is after some seconds; earlier exemplars are not visible.
    until(lambda: prometheus.query("count(up == 1) == 3"), "not every target is scraped")
    client = ServiceClient(service.url)
    well, *_ = [client.ask() for _ in range(Traffic.RUNS["fanout"])]
    traffic = Traffic(
        well=well,
        failed_agent=client.ask("one-status"),
        straggler=client.ask("straggling"),
        retried=client.ask("again"),
        failed=client.ask("both-bad"),
        resumed=client.resume(well.run_id),
        left=client.ask_and_leave("endless"),
    )
    client.http.close()
    # The last run to end, some time after its client disconnected.
    jaeger.until(traffic.left, "invoke_workflow endless")
    runs = sum(Traffic.RUNS.values())
    counted = 'sum(traces_span_metrics_calls_total{span_name=~"invoke_workflow.*"})'
    until(lambda: prometheus.query(f"{counted} == {runs}"), "the collector counted otherwise")
    until(lambda: prometheus.query(f"sum(fanout_runs_total) == {runs}"), "the service miscounted")
    return traffic
