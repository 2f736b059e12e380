"""The library's HTTP span exporter with our encoder."""

from collections.abc import Sequence

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult

from telemetry.otlp.encoding import encode


class HttpSpanExporter(OTLPSpanExporter):
    """Exports spans by OTLP over HTTP; the standard OTEL_* variables configure it."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export one batch; the library's client retries transient failures."""
        result = self._client.export(encode(spans).SerializeToString())
        return SpanExportResult.SUCCESS if result.success else SpanExportResult.FAILURE
