"""The narrow interface through which runs, agents and upstream calls are observed.

Owns spans, metrics and log lines; never imports the service. Everything that operations write goes
through one `Telemetry`, made once per process and passed on.
"""

from telemetry.chat import ChatOperation
from telemetry.context import RequestInfo, bind_log, current_request
from telemetry.facade import Telemetry
from telemetry.logs import configure_logging, redact, register_secret
from telemetry.setup import TelemetryConfig, otlp_wanted
from telemetry.tracing import AgentOperation, Workflow

__all__ = [
    "AgentOperation",
    "ChatOperation",
    "RequestInfo",
    "Telemetry",
    "TelemetryConfig",
    "Workflow",
    "bind_log",
    "configure_logging",
    "current_request",
    "otlp_wanted",
    "redact",
    "register_secret",
]
