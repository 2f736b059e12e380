"""The tracer provider: its sampler, its exporter, and a shutdown that ends in time.

Sets no OpenTelemetry global. Exports by OTLP/HTTP only when told to; without an exporter spans
are never recorded, yet every trace id is real. Reads the standard OTEL_* variables through the SDK.
"""

import os
import random
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from opentelemetry.context import Context
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    SimpleSpanProcessor,
    SpanExporter,
)
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    NoOpTracer,
    Span,
    SpanContext,
    SpanKind,
    Tracer,
    get_current_span,
)
from opentelemetry.util.types import Attributes

from telemetry import semconv

# 64, not 512: encoding a batch holds the GIL, 48-69 µs a span (loop lag 4.8 against 38 ms).
_BATCH_SPANS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class TelemetryConfig:
    """What the service decides about telemetry; the rest are the standard OTEL_* variables.

    `traceparent_hosts` holds `host` or `host:port`, lower case. The label sets may be replaced
    later through `Telemetry.set_labels`.
    """

    service_name: str = "llm-sse-service"
    service_version: str = "0"
    otlp_enabled: bool = False
    trust_traceparent: bool = False
    traceparent_hosts: frozenset[str] = frozenset()
    workflows: frozenset[str] = frozenset()
    agents: frozenset[str] = frozenset()
    models: frozenset[str] = frozenset()
    providers: frozenset[str] = field(default=semconv.KNOWN_PROVIDERS)
    span_exporter: SpanExporter | None = None  # tests: written to at once, not in batches


def otlp_wanted(environ: Mapping[str, str] | None = None) -> bool:
    """Return whether the standard variables name an endpoint for traces and nothing forbids it.

    Source: https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
    """
    env = os.environ if environ is None else environ
    if _is_disabled(env) or env.get("OTEL_TRACES_EXPORTER", "").strip().lower() == "none":
        return False
    return any(
        env.get(name, "").strip()
        for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    )


class Tracing:
    """A tracer and the exporter behind it, if there is one."""

    def __init__(self, config: TelemetryConfig) -> None:
        self.provider = _provider(config)
        self.is_exporting = self.provider is not None
        self.tracer: Tracer = (
            QuietTracer()
            if self.provider is None
            else self.provider.get_tracer("telemetry", config.service_version)
        )

    def shutdown(self, timeout_s: float) -> None:
        """Send what is queued, for at most `timeout_s`; a dead collector does not hold us up."""
        provider, self.provider = self.provider, None
        if provider is None:
            return
        # A daemon thread: the SDK's own shutdown was seen to block 13-30 s.
        sender = threading.Thread(target=provider.shutdown, name="otel-shutdown", daemon=True)
        sender.start()
        sender.join(timeout_s)


class QuietTracer(NoOpTracer):
    """Spans that record nothing, with real and unique ids and the sampled flag off.

    The SDK's always-off sampler does the same for 3.4 µs a span, and with OTEL_SDK_DISABLED
    it gives all-zero ids.
    """

    def start_span(
        self,
        name: str,  # noqa: ARG002 - the interface's parameters
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,  # noqa: ARG002
        attributes: Attributes = None,  # noqa: ARG002
        links: Sequence[Link] | None = None,  # noqa: ARG002
        start_time: int | None = None,  # noqa: ARG002
        record_exception: bool = True,  # noqa: ARG002
        set_status_on_exception: bool = True,  # noqa: ARG002
    ) -> Span:
        """Return the parent when it is ours too, else a span of its trace or of a new one."""
        above = get_current_span(context)
        parent = above.get_span_context()
        if parent.is_valid and not parent.is_remote:
            return above  # nobody will see the tree: 2.5 KB less for each open run
        # Both ids are random and not 0, which W3C Trace Context calls invalid.
        trace_id = parent.trace_id or random.getrandbits(128) or 1
        span_id = random.getrandbits(64) or 1
        return NonRecordingSpan(SpanContext(trace_id, span_id, is_remote=False))


def _is_disabled(env: Mapping[str, str]) -> bool:
    return env.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"


def _provider(config: TelemetryConfig) -> TracerProvider | None:
    if _is_disabled(os.environ):
        return None
    processor = _processor(config)
    if processor is None:
        return None
    resource = Resource.create(
        {
            SERVICE_NAME: os.environ.get("OTEL_SERVICE_NAME") or config.service_name,
            SERVICE_VERSION: config.service_version,
        }
    )
    # The sampler is OTEL_TRACES_SAMPLER's; parentbased_traceidratio with ratio 1 if unset.
    # No shutdown at exit: ours is bounded in time, the SDK's is not.
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(processor)
    return provider


def _processor(config: TelemetryConfig) -> SpanProcessor | None:
    if config.span_exporter is not None:
        return SimpleSpanProcessor(config.span_exporter)
    if not config.otlp_enabled:
        return None
    # Here, not above: it costs 100 ms of imports, which a service that exports nothing saves.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    # The queue is bounded by OTEL_BSP_MAX_QUEUE_SIZE, 2048 spans when unset.
    return BatchSpanProcessor(OTLPSpanExporter(), max_export_batch_size=_BATCH_SPANS)
