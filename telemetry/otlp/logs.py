"""Log records by OTLP, for those who collect logs where they collect traces. Off by default."""

import logging
import time
from collections.abc import Sequence

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.context import Context
from opentelemetry.sdk._logs import LoggerProvider, ReadableLogRecord, ReadWriteLogRecord
from opentelemetry.sdk._logs.export import (
    BatchLogRecordProcessor,
    LogRecordExporter,
    LogRecordExportResult,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.util.types import AnyValue

from telemetry import semconv
from telemetry.context import current_request
from telemetry.logs import fields_of, redact
from telemetry.metrics.registry import Metrics
from telemetry.otlp.queue import ExportQueue, protocol_of, queue_sizes

_SEVERITY = (
    (logging.CRITICAL, SeverityNumber.FATAL),
    (logging.ERROR, SeverityNumber.ERROR),
    (logging.WARNING, SeverityNumber.WARN),
    (logging.INFO, SeverityNumber.INFO),
    (logging.NOTSET, SeverityNumber.DEBUG),
)
# What a record says elsewhere than in its attributes.
_ELSEWHERE = frozenset({"time", "level", "logger", "message", "trace_id", "span_id"})


class LogExport:
    """Sends what the root logger gets, from its making until it is closed."""

    def __init__(self, resource: Resource, metrics: Metrics) -> None:
        waiting, batch = queue_sizes("OTEL_BLRP")
        self.outlet = ExportQueue("logs", waiting, metrics)
        exporter = _CountedLogExporter(_exporter(), self.outlet)
        self._provider = LoggerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_log_record_processor(_Queue(exporter, self.outlet, waiting, batch))
        self._handler = _ExportHandler(self._provider)
        logging.getLogger().addHandler(self._handler)

    def shutdown(self) -> None:
        """Send what waits, for as long as that takes."""
        logging.getLogger().removeHandler(self._handler)
        self._provider.shutdown()


class _ExportHandler(logging.Handler):
    def __init__(self, provider: LoggerProvider) -> None:
        super().__init__()
        self._provider = provider

    def emit(self, record: logging.LogRecord) -> None:
        """Pass a record on, without secrets; the SDK's own would go in circles."""
        if record.name.startswith("opentelemetry"):
            return
        try:
            self._provider.get_logger(record.name).emit(_translated(record))
        except Exception:  # noqa: BLE001  logging's own contract: a log line never fails its caller
            self.handleError(record)


def _translated(record: logging.LogRecord) -> LogRecord:
    request = current_request()
    fields = fields_of(record)
    attributes = {key: _value(fields[key]) for key in fields.keys() - _ELSEWHERE}
    if record.exc_info and record.exc_info[1] is not None:
        error = record.exc_info[1]
        text = logging.Formatter().formatException(record.exc_info)
        attributes[semconv.EXCEPTION_TYPE] = type(error).__qualname__
        attributes[semconv.EXCEPTION_MESSAGE] = redact(str(error))
        attributes[semconv.EXCEPTION_STACKTRACE] = redact(text)
    return LogRecord(
        timestamp=int(record.created * 1e9),
        observed_timestamp=time.time_ns(),
        context=request.context if request else Context(),
        severity_text=record.levelname,
        severity_number=next(number for level, number in _SEVERITY if record.levelno >= level),
        body=redact(record.getMessage()),
        attributes=attributes,
    )


def _value(value: object) -> AnyValue:
    return value if isinstance(value, bool | int | float) else redact(str(value))


def _exporter() -> LogRecordExporter:
    # Here, not above, for the imports: gRPC alone takes 15 MB.
    if protocol_of("logs") == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter

        return OTLPLogExporter()
    from opentelemetry.exporter.otlp.proto.http import _log_exporter as http

    return http.OTLPLogExporter()


class _CountedLogExporter(LogRecordExporter):
    """Tells the outlet what became of each batch."""

    def __init__(self, exporter: LogRecordExporter, outlet: ExportQueue) -> None:
        self._exporter = exporter
        self._outlet = outlet

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        return self._outlet.send(self._exporter.export, batch, LogRecordExportResult.SUCCESS)

    def shutdown(self) -> None:
        self._exporter.shutdown()  # type: ignore[no-untyped-call]  # the library's gap

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


class _Queue(BatchLogRecordProcessor):
    """The SDK's queue, which gets only what fits."""

    def __init__(
        self, exporter: LogRecordExporter, outlet: ExportQueue, waiting: int, batch: int
    ) -> None:
        super().__init__(exporter, max_queue_size=waiting, max_export_batch_size=batch)
        self._outlet = outlet

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        if self._outlet.admit():
            super().on_emit(log_record)
