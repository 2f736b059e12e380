"""Export of log records by OTLP, as an addition to stderr. Off by default."""

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
from telemetry.logs import collect_fields, redact
from telemetry.metrics.registry import Metrics
from telemetry.otlp.queue import ExportQueue, read_protocol, read_queue_sizes

_SEVERITY = (
    (logging.CRITICAL, SeverityNumber.FATAL),
    (logging.ERROR, SeverityNumber.ERROR),
    (logging.WARNING, SeverityNumber.WARN),
    (logging.INFO, SeverityNumber.INFO),
    (logging.NOTSET, SeverityNumber.DEBUG),
)
# Fields that OTLP stores in the record itself, not in its attributes.
_NOT_ATTRIBUTES = frozenset({"time", "level", "logger", "message", "trace_id", "span_id"})


class LogExport:
    """Exports the root logger's records, from construction until `shutdown`."""

    def __init__(self, resource: Resource, metrics: Metrics) -> None:
        queue_items, batch_items = read_queue_sizes("OTEL_BLRP")
        self.queue = ExportQueue("logs", queue_items, metrics)
        exporter = _CountedLogExporter(_create_exporter(), self.queue)
        self._provider = LoggerProvider(resource=resource, shutdown_on_exit=False)
        processor = _LogBatchProcessor(exporter, self.queue, queue_items, batch_items)
        self._provider.add_log_record_processor(processor)
        self._handler = _ExportHandler(self._provider)
        logging.getLogger().addHandler(self._handler)

    def shutdown(self) -> None:
        """Export the queued records, without a time limit."""
        logging.getLogger().removeHandler(self._handler)
        self._provider.shutdown()


class _ExportHandler(logging.Handler):
    def __init__(self, provider: LoggerProvider) -> None:
        super().__init__()
        self._provider = provider

    def emit(self, record: logging.LogRecord) -> None:
        """Export a record without secrets.

        OpenTelemetry's own records are ignored: exporting them would create new ones.
        """
        if record.name.startswith("opentelemetry"):
            return
        try:
            self._provider.get_logger(record.name).emit(_to_otlp_record(record))
        except Exception:  # noqa: BLE001  contract of logging: a log line never fails its caller
            self.handleError(record)


def _to_otlp_record(record: logging.LogRecord) -> LogRecord:
    request = current_request()
    fields = collect_fields(record)
    attributes = {key: _to_attribute_value(fields[key]) for key in fields.keys() - _NOT_ATTRIBUTES}
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


def _to_attribute_value(value: object) -> AnyValue:
    return value if isinstance(value, bool | int | float) else redact(str(value))


def _create_exporter() -> LogRecordExporter:
    # Imported here: only the selected protocol's library is needed; gRPC takes 15 MB.
    if read_protocol("logs") == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter

        return OTLPLogExporter()
    from opentelemetry.exporter.otlp.proto.http import _log_exporter as http

    return http.OTLPLogExporter()


class _CountedLogExporter(LogRecordExporter):
    """Reports the result of each batch to the queue."""

    def __init__(self, exporter: LogRecordExporter, queue: ExportQueue) -> None:
        self._exporter = exporter
        self._queue = queue

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        return self._queue.send(self._exporter.export, batch, LogRecordExportResult.SUCCESS)

    def shutdown(self) -> None:
        self._exporter.shutdown()  # type: ignore[no-untyped-call]  # untyped in the library

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


class _LogBatchProcessor(BatchLogRecordProcessor):
    """Passes a record to the SDK's batch queue only while there is capacity."""

    def __init__(
        self, exporter: LogRecordExporter, queue: ExportQueue, queue_items: int, batch_items: int
    ) -> None:
        super().__init__(exporter, max_queue_size=queue_items, max_export_batch_size=batch_items)
        self._queue = queue

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        if self._queue.admit():
            super().on_emit(log_record)
