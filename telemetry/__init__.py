"""Spans, metrics and log lines of the service; the public interface of the package.

Never imports `service`. Each process creates one `Telemetry` and passes it to the code that
records something.
"""

from telemetry.context import RequestInfo, bind_log, build_detached_context, current_request
from telemetry.facade import Telemetry
from telemetry.logs import configure_logging, redact, redact_value, register_secret
from telemetry.otlp.queue import (
    TelemetryError,
    check_otel_variables,
    should_export_logs,
    should_export_traces,
)
from telemetry.setup import TelemetryConfig, should_capture_content
from telemetry.spans.agent import AgentOperation
from telemetry.spans.model_call import ChatOperation
from telemetry.spans.run import Workflow
from telemetry.spans.store import JournalMetrics, StoreOperation, UnavailableReason

__all__ = [
    "AgentOperation",
    "ChatOperation",
    "JournalMetrics",
    "RequestInfo",
    "StoreOperation",
    "Telemetry",
    "TelemetryConfig",
    "TelemetryError",
    "UnavailableReason",
    "Workflow",
    "bind_log",
    "build_detached_context",
    "check_otel_variables",
    "configure_logging",
    "current_request",
    "redact",
    "redact_value",
    "register_secret",
    "should_capture_content",
    "should_export_logs",
    "should_export_traces",
]
