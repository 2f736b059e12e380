"""The library's HTTP exporter with our encoding."""

from collections.abc import Sequence

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult

from telemetry.otlp.encoding import encode


class HttpSpanExporter(OTLPSpanExporter):
    """Sends spans by OTLP over HTTP, as the standard variables say."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send one batch; the library's client retries what a moment later may work."""
        sent = self._client.export(encode(spans).SerializeToString())
        return SpanExportResult.SUCCESS if sent.success else SpanExportResult.FAILURE
