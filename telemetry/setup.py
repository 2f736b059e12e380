"""The tracer provider: its sampler, its resource, its exporter, and an end in time.

Sets no OpenTelemetry global. Exports by OTLP only when told to; the standard OTEL_* variables are
read through the SDK.
"""

import os
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from opentelemetry.sdk.resources import (
    SERVICE_NAME,
    SERVICE_VERSION,
    OTELResourceDetector,
    Resource,
)
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter
from opentelemetry.trace import Tracer

from telemetry import semconv
from telemetry.metrics.registry import Metrics
from telemetry.non_recording import NonRecordingTracer
from telemetry.otlp.queue import ExportQueue, is_disabled

_CONTENT = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"


@dataclass(frozen=True, slots=True, kw_only=True)
class TelemetryConfig:
    """What the service decides about telemetry; the rest are the standard OTEL_* variables.

    `traceparent_hosts` holds `host` or `host:port`, lower case. The label sets may be replaced
    later through `Telemetry.set_labels`.
    """

    service_name: str = "llm-sse-service"
    service_version: str = "0"
    otlp_enabled: bool = False
    otlp_logs_enabled: bool = False
    captures_content: bool = False  # whether spans hold prompts and answers
    trust_traceparent: bool = False
    traceparent_hosts: frozenset[str] = frozenset()
    workflows: frozenset[str] = frozenset()
    agents: frozenset[str] = frozenset()
    models: frozenset[str] = frozenset()
    providers: frozenset[str] = field(default=semconv.KNOWN_PROVIDERS)
    span_exporter: SpanExporter | None = None  # tests: written to at once, not in batches


def should_capture_content(environ: Mapping[str, str]) -> bool:
    """Return whether the standard opt-in asks for prompts and answers on spans.

    Source: https://github.com/open-telemetry/opentelemetry-python-contrib, util-genai
    """
    return environ.get(_CONTENT, "").strip().lower() in {"true", "span_only", "span_and_event"}


class Tracing:
    """A tracer and the exporter behind it, if there is one. Raises TelemetryError."""

    def __init__(self, config: TelemetryConfig, resource: Resource, metrics: Metrics) -> None:
        self.outlet: ExportQueue | None = None
        self.provider = self._provider(config, resource, metrics)
        self.is_exporting = self.provider is not None
        self.tracer: Tracer = (
            NonRecordingTracer()
            if self.provider is None
            else self.provider.get_tracer("telemetry", config.service_version)
        )

    def _provider(
        self, config: TelemetryConfig, resource: Resource, metrics: Metrics
    ) -> TracerProvider | None:
        wanted = config.otlp_enabled or config.span_exporter is not None
        if not wanted or is_disabled(os.environ):
            return None
        # The sampler is OTEL_TRACES_SAMPLER's; parentbased_traceidratio with ratio 1 if unset.
        # No shutdown at exit: ours is bounded in time, the SDK's is not.
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        if config.span_exporter is not None:
            provider.add_span_processor(SimpleSpanProcessor(config.span_exporter))
            return provider
        # Here, not above: 60 ms of imports, which a service that exports nothing saves.
        from telemetry.otlp.spans import SpanQueue

        queue = SpanQueue(metrics)
        self.outlet = queue.outlet
        provider.add_span_processor(queue)
        return provider


def resource_of(config: TelemetryConfig) -> Resource:
    """Return what every span and record says of its origin; the environment's word goes first."""
    ours: dict[str, str | int] = {
        SERVICE_NAME: config.service_name,
        SERVICE_VERSION: config.service_version,
        semconv.SERVICE_INSTANCE_ID: str(uuid.uuid4()),
        semconv.PROCESS_PID: os.getpid(),
    }
    theirs = OTELResourceDetector().detect().attributes
    return Resource.create({key: value for key, value in ours.items() if key not in theirs})


def end_within(timeout_s: float, *ends: Callable[[], object]) -> None:
    """Call all at once and return when they are done, or after `timeout_s`.

    In daemon threads: the SDK's own shutdown was seen to block 13-30 s on a dead collector.
    """
    deadline = time.monotonic() + timeout_s
    threads = [threading.Thread(target=end, name="otel-shutdown", daemon=True) for end in ends]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
