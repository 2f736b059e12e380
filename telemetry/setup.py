"""Configuration of the tracer provider: sampler, resource, exporter and bounded shutdown.

Sets no OpenTelemetry global. Exports by OTLP only when the configuration enables it; the SDK reads
the standard OTEL_* variables. Its modules are imported only for an export: they take 40 ms.
"""

import os
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from opentelemetry.trace import Tracer

from telemetry import semconv
from telemetry.metrics.registry import Metrics
from telemetry.non_recording import NonRecordingTracer
from telemetry.otlp.queue import ExportQueue, is_sdk_disabled

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

_CAPTURE_CONTENT = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"


@dataclass(frozen=True, slots=True, kw_only=True)
class TelemetryConfig:
    """The service's own telemetry settings; the standard OTEL_* variables hold the others.

    `traceparent_hosts` contains `host` or `host:port` in lower case. `Telemetry.set_labels` may
    replace the label sets (workflows, agents, models, providers) later.
    """

    service_name: str = "llm-sse-service"
    service_version: str = "0"
    otlp_enabled: bool = False
    otlp_logs_enabled: bool = False
    captures_content: bool = False  # whether spans contain prompts and answers
    trust_traceparent: bool = False
    traceparent_hosts: frozenset[str] = frozenset()
    workflows: frozenset[str] = frozenset()
    agents: frozenset[str] = frozenset()
    models: frozenset[str] = frozenset()
    providers: frozenset[str] = field(default=semconv.KNOWN_PROVIDERS)
    span_exporter: "SpanExporter | None" = None  # for tests: exports without batches


def should_capture_content(env: Mapping[str, str]) -> bool:
    """Return whether the standard opt-in enables prompts and answers on spans.

    Source: https://github.com/open-telemetry/opentelemetry-python-contrib, util-genai
    """
    return env.get(_CAPTURE_CONTENT, "").strip().lower() in {"true", "span_only", "span_and_event"}


class Tracing:
    """A tracer and its exporter, if one is configured.

    Raises TelemetryError for an invalid OTEL_* variable.
    """

    def __init__(
        self, config: TelemetryConfig, resource: Callable[[], "Resource"], metrics: Metrics
    ) -> None:
        self.queue: ExportQueue | None = None
        self.provider = self._create_provider(config, resource, metrics)
        self.is_exporting = self.provider is not None
        self.tracer: Tracer = (
            NonRecordingTracer()
            if self.provider is None
            else self.provider.get_tracer("telemetry", config.service_version)
        )

    def _create_provider(
        self, config: TelemetryConfig, resource: Callable[[], "Resource"], metrics: Metrics
    ) -> "TracerProvider | None":
        wanted = config.otlp_enabled or config.span_exporter is not None
        if not wanted or is_sdk_disabled(os.environ):
            return None
        from opentelemetry.sdk.trace import TracerProvider

        # OTEL_TRACES_SAMPLER selects the sampler; unset: parentbased_traceidratio with ratio 1.
        # No SDK shutdown at exit: it has no time limit, `shut_down_within` has one.
        provider = TracerProvider(resource=resource(), shutdown_on_exit=False)
        if config.span_exporter is not None:
            from opentelemetry.sdk.trace.export import SimpleSpanProcessor

            provider.add_span_processor(SimpleSpanProcessor(config.span_exporter))
            return provider
        from telemetry.otlp.spans import SpanBatchProcessor

        processor = SpanBatchProcessor(metrics)
        self.queue = processor.queue
        provider.add_span_processor(processor)
        return provider


def create_resource(config: TelemetryConfig) -> "Resource":
    """Return the resource of all spans and log records; OTEL_* variables override our values."""
    from opentelemetry.sdk.resources import (
        SERVICE_NAME,
        SERVICE_VERSION,
        OTELResourceDetector,
        Resource,
    )

    ours: dict[str, str | int] = {
        SERVICE_NAME: config.service_name,
        SERVICE_VERSION: config.service_version,
        semconv.SERVICE_INSTANCE_ID: str(uuid.uuid4()),
        semconv.PROCESS_PID: os.getpid(),
    }
    theirs = OTELResourceDetector().detect().attributes
    return Resource.create({key: value for key, value in ours.items() if key not in theirs})


def shut_down_within(timeout_s: float, *shutdowns: Callable[[], object]) -> None:
    """Call all `shutdowns` in parallel; return when they have finished, or after `timeout_s`.

    Uses daemon threads: the SDK's shutdown was observed to block 13-30 s on a dead collector.
    """
    deadline = time.monotonic() + timeout_s
    threads = [
        threading.Thread(target=shutdown, name="otel-shutdown", daemon=True)
        for shutdown in shutdowns
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
