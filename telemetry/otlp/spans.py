"""Spans by OTLP: the SDK's batches, with an account of what became of each span."""

from collections.abc import Sequence

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from telemetry.metrics.registry import Metrics
from telemetry.otlp.queue import ExportQueue, protocol_of, queue_sizes


class SpanQueue(BatchSpanProcessor):
    """The SDK's queue, which gets only what fits. Raises TelemetryError."""

    def __init__(self, metrics: Metrics) -> None:
        waiting, batch = queue_sizes("OTEL_BSP")
        self.outlet = ExportQueue("traces", waiting, metrics)
        exporter = _CountedSpanExporter(_exporter(), self.outlet)
        super().__init__(exporter, max_queue_size=waiting, max_export_batch_size=batch)

    def on_end(self, span: ReadableSpan) -> None:
        """Queue a span that ended, if it is sampled and there is room."""
        if span.context and span.context.trace_flags.sampled and self.outlet.admit():
            super().on_end(span)


class _CountedSpanExporter(SpanExporter):
    """Tells the outlet what became of each batch."""

    def __init__(self, exporter: SpanExporter, outlet: ExportQueue) -> None:
        self._exporter = exporter
        self._outlet = outlet

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return self._outlet.send(self._exporter.export, spans, SpanExportResult.SUCCESS)

    def shutdown(self) -> None:
        self._exporter.shutdown()


def _exporter() -> SpanExporter:
    # Here, not above: each needs only its own library, and gRPC alone takes 15 MB.
    if protocol_of("traces") == "grpc":
        from telemetry.otlp.grpc import GrpcSpanExporter

        return GrpcSpanExporter()
    from telemetry.otlp.http import HttpSpanExporter

    return HttpSpanExporter()
