"""Tracer provider: conditions for export, resource attributes and bounded shutdown."""

import os
import socket
import subprocess
import sys
import time

import pytest

from telemetry import Telemetry, should_export_traces
from tests._support.paths import ROOT
from tests._support.telemetry.capture import capturing, config, start

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({}, False),
        (ENDPOINT, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": " "}, False),
        ({**ENDPOINT, "OTEL_SDK_DISABLED": "TRUE"}, False),
        ({**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"}, False),
        ({**ENDPOINT, "OTEL_TRACES_EXPORTER": "otlp"}, True),
    ],
)
def test_the_standard_variables_decide_whether_spans_are_exported(
    environ: dict[str, str], wanted: bool
) -> None:
    assert should_export_traces(environ) is wanted


def test_a_disabled_sdk_still_gives_real_trace_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    captured = capturing()
    run = start(captured.telemetry)
    run.finish("completed")
    assert run.span_context.is_valid
    assert captured.spans == []


def test_spans_have_the_service_name_as_resource(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_SERVICE_NAME", raising=False)
    captured = capturing(service_version="1.2.3")
    start(captured.telemetry).finish("completed")
    attributes = captured.spans[0].resource.attributes
    assert attributes["service.name"] == "llm-sse-service"
    assert attributes["service.version"] == "1.2.3"


def test_opentelemetry_globals_stay_unset() -> None:
    from opentelemetry import trace

    capturing()
    assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


def silent_listener() -> socket.socket:
    """Return a collector that accepts connections and never answers."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.listen()
    return listener


@pytest.mark.parametrize("is_listening", [True, False])
def test_shutdown_is_bounded_when_the_collector_is_dead(
    monkeypatch: pytest.MonkeyPatch, is_listening: bool
) -> None:
    listener = silent_listener()
    port = listener.getsockname()[1]
    if not is_listening:
        listener.close()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    telemetry = Telemetry(config(otlp_enabled=True))
    for _ in range(200):
        start(telemetry).finish("completed")
    began = time.monotonic()
    telemetry.shutdown(0.5)
    telemetry.shutdown(0.5)
    assert time.monotonic() - began < 10
    listener.close()


def test_a_process_ends_with_a_dead_collector() -> None:
    script = """
from telemetry import Telemetry, TelemetryConfig
telemetry = Telemetry(TelemetryConfig(otlp_enabled=True))
telemetry.start_workflow(
    "w", run_id="r", conversation_id="c", config_hash="h", agents=[], parent=None
).finish("completed")
telemetry.shutdown(0.2)
"""
    with silent_listener() as listener:
        endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}"
        began = time.monotonic()
        ended = subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    assert time.monotonic() - began < 10
    assert "Traceback" not in ended.stderr
