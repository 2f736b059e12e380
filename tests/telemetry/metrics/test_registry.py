"""The /metrics page: families, closed label sets, exemplars and several workers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics import parser as openmetrics

from telemetry import Telemetry, semconv
from telemetry.instrument import Instrument
from telemetry.metrics.labels import OpenLabelSet
from tests._support.paths import ROOT
from tests._support.telemetry.asgi import answering, call
from tests._support.telemetry.capture import Capture, config, start
from tests._support.telemetry.metrics_page import OPENMETRICS, samples
from tests._support.telemetry.sample_runs import fan_out

INSTRUMENTS = [each for each in vars(semconv).values() if isinstance(each, Instrument)]


def parse_openmetrics(page: str) -> list[Metric]:
    """Return the families of a page; the parser checks the format strictly."""
    return list(openmetrics.text_string_to_metric_families(page))  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("spec", INSTRUMENTS, ids=lambda spec: spec.name)
def test_the_metrics_page_has_every_instrument(quiet: Telemetry, spec: Instrument) -> None:
    page = quiet.render_metrics("")[0].decode()
    assert f"# TYPE {spec.name} {spec.kind}\n" in page
    assert spec.name.endswith("_total") == (spec.kind == "counter")


def test_buckets_are_those_of_the_specification() -> None:
    assert semconv.CALL_BUCKETS[0] == 0.01
    assert semconv.CALL_BUCKETS[-1] == 81.92
    assert semconv.AGENT_BUCKETS[-1] == 409.6
    assert semconv.TOKEN_BUCKETS[-1] == 67108864
    assert semconv.WORKFLOW_BUCKETS[-1] == 7200
    assert semconv.HTTP_BUCKETS[-4:] == (20, 40, 80, 160)


async def test_a_fan_out_is_counted(capture: Capture) -> None:
    await fan_out(capture.telemetry)
    page = samples(capture.page())
    call_labels = (
        ("operation", "chat"),
        ("provider", "openai"),
        ("request_model", "gpt-4o-mini"),
        ("response_model", "gpt-4o-mini"),
    )
    outcome = "fanout_agent_outcomes_total"
    tokens = "gen_ai_client_token_usage_sum"
    assert page[outcome, (("agent", "llm-1"), ("outcome", "answered"))] == 1
    assert page[outcome, (("agent", "llm-2"), ("outcome", "failed"))] == 1
    assert page["fanout_retries_total", (("agent", "llm-1"), ("reason", "timeout"))] == 1
    assert page["fanout_cost_usd_total", (("agent", "llm-2"), ("model", "gpt-4o-mini"))] == 0.25
    assert page[tokens, (*call_labels, ("token_type", "output"))] == 40
    assert page["fanout_time_to_first_output_seconds_count", (("workflow", "fanout"),)] == 1
    # Only a successful call has a time per chunk; a failed one may have waited for its deadline.
    per_chunk = "gen_ai_client_operation_time_per_output_chunk_seconds_count"
    assert page[per_chunk, call_labels] == 1
    duration = "gen_ai_client_operation_duration_seconds_count"
    assert page[duration, tuple(sorted((*call_labels, ("error_type", "http_500"))))] == 1


async def test_labels_outside_the_configured_sets_are_other(capture: Capture) -> None:
    run = start(capture.telemetry, "made up")
    agent = run.start_agent("hostile\n", "gpt-4o-mini-evil")
    agent.start_chat(
        model="unheard of",
        provider="nobody",
        server_address="h",
        server_port=1,
        stream=False,
        attempt=1,
    ).finish(response_model="surprise", error_type="not a slug!")
    agent.finish("answered")
    run.finish("completed")
    page = capture.page()
    for value in ("made up", "hostile", "evil", "unheard", "nobody", "surprise", "slug"):
        assert value not in page
    assert 'fanout_runs_total{outcome="completed",workflow="_OTHER"} 1.0' in page


def test_a_dated_snapshot_counts_as_the_configured_model(quiet: Telemetry) -> None:
    admit = quiet.metrics.labels.admit
    assert admit("response_model", "gpt-4o-mini-2024-07-18") == "gpt-4o-mini"
    assert admit("response_model", "gpt-4o-mini-audio") == "_OTHER"
    assert admit("request_model", "gpt-4o-mini-2024-07-18") == "_OTHER"


def test_label_sets_can_be_replaced_while_running(quiet: Telemetry) -> None:
    quiet.set_labels(agents={"llm-9"})
    admit = quiet.metrics.labels.admit
    assert admit("agent", "llm-9") == "llm-9"
    assert admit("agent", "llm-1") == "_OTHER"
    assert admit("model", "gpt-4o-mini") == "gpt-4o-mini"


def test_a_label_set_without_configuration_stops_growing() -> None:
    growing = OpenLabelSet()
    admitted = {growing(f"reason_{number}") for number in range(1000)}
    assert len(admitted) < 140
    assert "_OTHER" in admitted


def test_a_replaced_label_set_holds_for_series_already_used(quiet: Telemetry) -> None:
    family = quiet.metrics.agent_outcomes
    family.child("llm-9", "answered").inc()
    quiet.set_labels(agents={"llm-9"})
    family.child("llm-9", "answered").inc()
    page = quiet.render_metrics("")[0].decode()
    assert 'fanout_agent_outcomes_total{agent="_OTHER",outcome="answered"} 1.0' in page
    assert 'fanout_agent_outcomes_total{agent="llm-9",outcome="answered"} 1.0' in page


def test_hostile_label_values_do_not_fill_the_cache(quiet: Telemetry) -> None:
    family = quiet.metrics.agent_outcomes
    for number in range(3000):
        family.child(f"made up {number}", "answered").inc()
    assert len(family._series) <= 1024
    assert '{agent="_OTHER",outcome="answered"} 3000.0' in quiet.render_metrics("")[0].decode()


async def test_streams_and_disconnects_are_counted(quiet: Telemetry) -> None:
    quiet.record_stream_opened()
    quiet.record_stream_opened()
    quiet.record_stream_closed(disconnected=True)
    page = quiet.render_metrics("")[0].decode()
    assert "fanout_open_streams 1.0" in page
    assert "fanout_client_disconnects_total 1.0" in page


async def test_openmetrics_has_the_trace_id_as_exemplar(capture: Capture) -> None:
    wire = await call(capture.telemetry.middleware(answering()))
    body, content_type = capture.telemetry.render_metrics(OPENMETRICS)
    exemplars = {
        sample.exemplar.labels["trace_id"]
        for family in parse_openmetrics(body.decode())
        for sample in family.samples
        if sample.exemplar
    }
    assert content_type.startswith("application/openmetrics-text")
    assert exemplars == {wire.headers["x-trace-id"]}
    assert capture.telemetry.render_metrics("text/plain")[1].startswith("text/plain")


async def test_an_unsampled_observation_has_no_exemplar(quiet: Telemetry) -> None:
    await call(quiet.middleware(answering()))
    assert "trace_id" not in quiet.render_metrics(OPENMETRICS)[0].decode()


WORKER = """
import sys
from telemetry import Telemetry, TelemetryConfig
from telemetry.metrics.registry import forget_worker

telemetry = Telemetry(TelemetryConfig(workflows=frozenset({"fanout"})))
for number in range(int(sys.argv[1])):
    run = telemetry.start_workflow(
        "fanout", run_id="r", conversation_id="c", config_hash="h", agents=[], parent=None
    )
    if number:
        run.finish("completed")
telemetry.journal.set_pending(int(sys.argv[1]), oldest_s=float(sys.argv[1]))
print("ready", flush=True)
for line in sys.stdin:
    words = line.split()
    if words[0] == "died":
        forget_worker(int(words[1]))
    body, content_type = telemetry.render_metrics(words[-1])
    print(content_type, flush=True)
    print(body.decode(), end="", flush=True)
    print("# end of page", flush=True)
"""


class Worker:
    """A process of its own that has started `runs` runs and ended all but one.

    Its journal has as many events to write down, the oldest as many seconds old.
    """

    def __init__(self, directory: Path, runs: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(runs)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(directory)},
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def ask(self, command: str) -> tuple[str, str]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()
        content_type = self.process.stdout.readline()
        lines = list(iter(self.process.stdout.readline, "# end of page\n"))
        return content_type, "".join(lines)

    def end(self) -> None:
        self.process.communicate()


def test_any_worker_shows_the_sum_of_all(tmp_path: Path) -> None:
    first, second = Worker(tmp_path, 11), Worker(tmp_path, 31)
    done = ("fanout_runs_total", (("outcome", "completed"), ("workflow", "fanout")))
    try:
        pages = [worker.ask("page text/plain")[1] for worker in (first, second)]
        assert [samples(page)[done] for page in pages] == [40, 40]
        assert [samples(page)["fanout_inflight_runs", ()] for page in pages] == [2, 2]
        assert samples(pages[1])["journal_pending_events", ()] == 11 + 31
        assert 31 <= samples(pages[1])["journal_oldest_pending_seconds", ()] < 11 + 31
        content_type, page = first.ask("page application/openmetrics-text")
        assert content_type.startswith("application/openmetrics-text")
        assert parse_openmetrics(page)
        second.end()
        gone = samples(first.ask(f"died {second.process.pid} text/plain")[1])
        assert gone["fanout_inflight_runs", ()] == 1
        assert gone[done] == 40
    finally:
        first.end()
        second.end()


def test_a_multiprocess_directory_set_after_the_import_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    with pytest.raises(RuntimeError, match="before prometheus_client is imported"):
        Telemetry(config())


def test_expected_series_start_at_zero(quiet: Telemetry) -> None:
    page = samples(quiet.render_metrics("")[0].decode())
    for outcome in semconv.OUTCOMES_OF_RUNS:
        labels = (("outcome", outcome), ("workflow", "fanout"))
        assert page["fanout_runs_total", labels] == 0
    for outcome in semconv.OUTCOMES_OF_AGENTS:
        labels = (("agent", "llm-1"), ("outcome", outcome))
        assert page["fanout_agent_outcomes_total", labels] == 0


def test_creation_times_are_in_openmetrics_only(capture: Capture) -> None:
    start(capture.telemetry).finish("completed")
    assert "_created" not in capture.page()
    family = next(
        each
        for each in parse_openmetrics(capture.page(OPENMETRICS))
        if each.name == "gen_ai_invoke_workflow_duration_seconds"
    )
    assert any(each.name.endswith("_created") for each in family.samples)
