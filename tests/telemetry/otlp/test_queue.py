"""Export of spans and log records: conditions, protocol, queue limits and counts."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from service.cli.main import main
from telemetry import Telemetry, TelemetryError, check_otel_variables, should_export_logs
from telemetry.otlp import logs, queue, spans
from telemetry.setup import create_resource, should_capture_content
from tests._support.telemetry.asgi import answering, call
from tests._support.telemetry.capture import config, start
from tests._support.telemetry.metrics_page import samples


class Gate(SpanExporter):
    """A fake exporter with a configurable result."""

    def __init__(self) -> None:
        self.result = SpanExportResult.SUCCESS
        self.got: list[ReadableSpan] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if self.result is SpanExportResult.SUCCESS:
            self.got += spans
        else:
            logger = logging.getLogger("opentelemetry.exporter.some")
            logger.warning("Transient error: connection refused, retrying")
            logger.error("Failed to export: max retries")
        return self.result

    def shutdown(self) -> None:
        pass


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    gate = Gate()
    monkeypatch.setattr(spans, "_create_exporter", lambda: gate)
    return gate


@pytest.fixture
def exported(gate: Gate) -> Iterator[Telemetry]:
    """A telemetry that exports spans to the gate when its queue is flushed."""
    telemetry = Telemetry(config(otlp_enabled=True))
    yield telemetry
    telemetry.shutdown()


def run(telemetry: Telemetry, count: int = 1) -> None:
    for _ in range(count):
        start(telemetry).finish("completed")


def flush(telemetry: Telemetry) -> None:
    provider = telemetry._tracing.provider
    assert provider is not None
    provider.force_flush()


def render_page(telemetry: Telemetry) -> str:
    return telemetry.render_metrics("")[0].decode()


def count_items(telemetry: Telemetry, signal: str = "traces") -> dict[str, float]:
    """Return the non-zero counts of a signal by outcome: sent, failed, dropped."""
    page = samples(render_page(telemetry))
    return {
        dict(labels)["outcome"]: value
        for (name, labels), value in page.items()
        if name == "telemetry_export_items_total" and dict(labels)["signal"] == signal
        if value
    }


def test_exported_spans_are_counted_as_sent(exported: Telemetry, gate: Gate) -> None:
    run(exported, 3)
    flush(exported)
    assert len(gate.got) == 3
    assert count_items(exported) == {"sent": 3}


def test_an_outage_is_counted_and_logged_once(
    exported: Telemetry, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    gate.result = SpanExportResult.FAILURE
    for _ in range(3):
        run(exported, 2)
        flush(exported)
    gate.result = SpanExportResult.SUCCESS
    run(exported)
    flush(exported)
    assert count_items(exported) == {"failed": 6, "sent": 1}
    lines = [each.getMessage() for each in caplog.records if each.name == "telemetry"]
    (trouble, cure) = lines
    assert "spans cannot be exported: Transient error: connection refused" in trouble
    assert cure == "spans are exported again; 6 were lost"


def test_a_batch_is_counted_as_failed_when_the_exporter_raises(
    exported: Telemetry, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(spans: Sequence[ReadableSpan]) -> SpanExportResult:
        raise RuntimeError("a bug")

    monkeypatch.setattr(gate, "export", fail)
    run(exported, 2)
    flush(exported)
    assert count_items(exported) == {"failed": 2}
    assert 'telemetry_export_queue_items{signal="traces"} 0.0' in render_page(exported)


def test_items_beyond_the_queue_size_are_dropped(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "4")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "3600000")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4")
    telemetry = Telemetry(config(otlp_enabled=True))
    queue = telemetry._tracing.queue
    assert queue is not None
    assert [queue.admit() for _ in range(6)] == [True] * 4 + [False] * 2
    assert count_items(telemetry) == {"dropped": 2}
    telemetry.shutdown()


def test_items_left_at_shutdown_are_counted_as_dropped(
    gate: Gate, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    telemetry = Telemetry(config(otlp_enabled=True))
    queue = telemetry._tracing.queue
    assert queue is not None
    assert queue.admit()  # an item that is never exported
    telemetry.shutdown()
    assert count_items(telemetry) == {"dropped": 1}
    assert "1 spans were not exported before the shutdown" in caplog.text
    assert not queue.admit()


def test_the_queue_length_is_a_metric(exported: Telemetry, gate: Gate) -> None:
    run(exported)
    flush(exported)
    page = render_page(exported)
    assert 'telemetry_export_queue_items{signal="traces"} 0.0' in page
    assert 'telemetry_export_duration_seconds_count{outcome="sent",signal="traces"} 1.0' in page


# --- the standard variables ---


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "carrier-pigeon"),
        ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "x"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
        ("OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", "many"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
    ],
)
def test_an_invalid_variable_is_an_error_that_names_it(
    name: str,
    value: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(TelemetryError, match=name):
        check_otel_variables()
    monkeypatch.chdir(tmp_path)
    assert main(["check"]) == 2
    assert name in capsys.readouterr().err


@pytest.mark.parametrize(
    ("variables", "protocol"),
    [
        ({}, "http/protobuf"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "grpc"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, "http/protobuf"),
        (
            {
                "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "GRPC",
            },
            "grpc",
        ),
    ],
)
def test_the_protocol_of_a_signal_overrides_the_common_one(
    variables: dict[str, str], protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("GRPC_VERBOSITY", "NONE")
    assert queue.read_protocol("traces") == protocol


def test_a_batch_is_never_larger_than_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    assert queue.read_queue_sizes("OTEL_BSP") == (2048, 128)
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "10")
    assert queue.read_queue_sizes("OTEL_BSP") == (10, 10)


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, False),
        ({"OTEL_LOGS_EXPORTER": "otlp"}, True),
        ({"OTEL_LOGS_EXPORTER": "console, otlp"}, True),
        ({"OTEL_LOGS_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "true"}, False),
    ],
)
def test_logs_are_exported_only_when_the_exporter_is_named(
    environ: dict[str, str], wanted: bool
) -> None:
    assert should_export_logs(environ) is wanted


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        *((value, False) for value in ("", "false", "NO_CONTENT", "EVENT_ONLY")),
        *((value, True) for value in ("true", "SPAN_ONLY", "span_and_event")),
    ],
)
def test_only_the_opt_in_values_enable_content(value: str, wanted: bool) -> None:
    name = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
    assert should_capture_content({name: value}) is wanted


def test_environment_variables_override_the_resource(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ours = create_resource(config(service_version="1")).attributes
    assert ours["service.name"] == "llm-sse-service"
    assert (
        ours["service.instance.id"] != create_resource(config()).attributes["service.instance.id"]
    )
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=mine,deployment.environment=lab")
    theirs = create_resource(config(service_version="1")).attributes
    assert theirs["service.name"] == "mine"
    assert theirs["service.version"] == "1"
    assert theirs["deployment.environment"] == "lab"
    monkeypatch.setenv("OTEL_SERVICE_NAME", "yours")
    assert create_resource(config()).attributes["service.name"] == "yours"


# --- log records ---


class Records(LogRecordExporter):
    """Stores the exported records."""

    def __init__(self) -> None:
        self.got: list[ReadableLogRecord] = []

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        self.got += batch
        return LogRecordExportResult.SUCCESS

    def shutdown(self) -> None:
        pass

    def force_flush(self, timeout_millis: int = 0) -> bool:
        return True


async def test_log_records_are_exported_with_ids_and_without_secrets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    records = Records()
    monkeypatch.setattr(logs, "_create_exporter", lambda: records)
    telemetry = Telemetry(config(otlp_logs_enabled=True))
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.INFO)
    try:
        wire = await call(telemetry.middleware(answering()), "/x", x_request_id="req")
        logging.getLogger("service").error("no sk-0123456789abcdef", extra={"agent": "llm-1"})
        try:
            raise ValueError("bad sk-0123456789abcdef")
        except ValueError:
            logging.getLogger("service").exception("failed")
        logging.getLogger("opentelemetry.sdk").error("never sent: it would go in circles")
    finally:
        root.setLevel(level)
        telemetry.shutdown()
    access, refusal, failure = [each.log_record for each in records.got]
    assert format(access.trace_id or 0, "032x") == wire.headers["x-trace-id"]
    assert access.attributes
    assert access.attributes["request_id"] == "req"
    assert access.attributes["status"] == 200
    assert access.severity_text == "INFO"
    assert refusal.body == "no [redacted]"
    assert refusal.attributes == {"agent": "llm-1"}
    assert not refusal.trace_id
    assert failure.attributes
    assert failure.attributes["exception.type"] == "ValueError"
    assert failure.attributes["exception.message"] == "bad [redacted]"
    assert "sk-0123" not in str(failure.attributes["exception.stacktrace"])
    assert count_items(telemetry, "logs") == {"sent": 3}
    assert not any(isinstance(each, logs._ExportHandler) for each in root.handlers)


def test_a_resource_is_shared_by_both_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Resource] = []
    records = Records()
    monkeypatch.setattr(logs, "_create_exporter", lambda: records)
    real = logs.LogExport.__init__

    def spy(self: logs.LogExport, resource: Resource, metrics: object) -> None:
        seen.append(resource)
        real(self, resource, metrics)  # type: ignore[arg-type]

    monkeypatch.setattr(logs.LogExport, "__init__", spy)
    telemetry = Telemetry(config(otlp_logs_enabled=True, span_exporter=Gate()))
    provider = telemetry._tracing.provider
    assert provider is not None
    assert seen == [provider.resource]
    telemetry.shutdown()
