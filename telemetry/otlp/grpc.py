"""The library's gRPC exporter with our encoding."""

from collections.abc import Sequence

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan

from telemetry.otlp.encoding import encode


class GrpcSpanExporter(OTLPSpanExporter):
    """Sends spans by OTLP over gRPC, as the standard variables say."""

    def _translate_data(self, data: Sequence[ReadableSpan]) -> ExportTraceServiceRequest:
        return encode(data)
