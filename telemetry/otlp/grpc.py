"""The library's gRPC span exporter with our encoder."""

from collections.abc import Sequence

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan

from telemetry.otlp.encoding import encode


class GrpcSpanExporter(OTLPSpanExporter):
    """Exports spans by OTLP over gRPC; the standard OTEL_* variables configure it."""

    def _translate_data(self, data: Sequence[ReadableSpan]) -> ExportTraceServiceRequest:
        return encode(data)
