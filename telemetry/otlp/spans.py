"""Export of spans by OTLP: the SDK's batch processor with bounded, counted admission."""

from collections.abc import Sequence

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from telemetry.metrics.registry import Metrics
from telemetry.otlp.queue import ExportQueue, read_protocol, read_queue_sizes


class SpanBatchProcessor(BatchSpanProcessor):
    """Passes a span to the SDK's batch queue only while there is capacity.

    Raises TelemetryError for an invalid OTEL_* variable.
    """

    def __init__(self, metrics: Metrics) -> None:
        queue_items, batch_items = read_queue_sizes("OTEL_BSP")
        self.queue = ExportQueue("traces", queue_items, metrics)
        exporter = _CountedSpanExporter(_create_exporter(), self.queue)
        super().__init__(exporter, max_queue_size=queue_items, max_export_batch_size=batch_items)

    def on_end(self, span: ReadableSpan) -> None:
        """Queue a finished span if it is sampled and there is capacity."""
        if span.context and span.context.trace_flags.sampled and self.queue.admit():
            super().on_end(span)


class _CountedSpanExporter(SpanExporter):
    """Reports the result of each batch to the queue."""

    def __init__(self, exporter: SpanExporter, queue: ExportQueue) -> None:
        self._exporter = exporter
        self._queue = queue

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return self._queue.send(self._exporter.export, spans, SpanExportResult.SUCCESS)

    def shutdown(self) -> None:
        self._exporter.shutdown()


def _create_exporter() -> SpanExporter:
    # Imported here: only the selected protocol's library is needed; gRPC takes 15 MB.
    if read_protocol("traces") == "grpc":
        from telemetry.otlp.grpc import GrpcSpanExporter

        return GrpcSpanExporter()
    from telemetry.otlp.http import HttpSpanExporter

    return HttpSpanExporter()
