"""Export by OTLP: the standard OTEL_* variables, and the bounded queue of one signal.

A collector that is dead, slow or refuses data costs the service only the memory of one bounded
queue for each signal: an item that does not fit is dropped immediately and counted.

Source: https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
"""

import logging
import os
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import Final, Literal, TypeVar

from telemetry.metrics.registry import Metrics

_log = logging.getLogger("telemetry")

Signal = Literal["traces", "logs"]
Protocol = Literal["grpc", "http/protobuf"]
Item = TypeVar("Item")
Result = TypeVar("Result")

SENT: Final = "sent"
FAILED: Final = "failed"
DROPPED: Final = "dropped"

_QUEUE_ITEMS = 2048
# Encoding a batch holds the GIL for 16 µs a span; a request costs 0.7 ms for any batch size.
_BATCH_ITEMS = 128


class TelemetryError(Exception):
    """An OTEL_* variable has an invalid value; the message names the variable."""


def should_export_traces(env: Mapping[str, str]) -> bool:
    """Return whether to export traces: an endpoint or the exporter is set, and none disables it."""
    exporters = _read_exporters(env, "OTEL_TRACES_EXPORTER")
    if is_sdk_disabled(env) or "none" in exporters:
        return False
    endpoints = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    return "otlp" in exporters or any(env.get(name, "").strip() for name in endpoints)


def should_export_logs(env: Mapping[str, str]) -> bool:
    """Return whether to export log records: only when OTEL_LOGS_EXPORTER names `otlp`."""
    return not is_sdk_disabled(env) and "otlp" in _read_exporters(env, "OTEL_LOGS_EXPORTER")


def is_sdk_disabled(env: Mapping[str, str]) -> bool:
    """Return whether OTEL_SDK_DISABLED turns off all export."""
    return env.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"


def _read_exporters(env: Mapping[str, str], name: str) -> set[str]:
    return {each.strip().lower() for each in env.get(name, "").split(",")}


def read_protocol(signal: Signal) -> Protocol:
    """Return the OTLP protocol that the variables select, HTTP by default.

    Raises TelemetryError for an unknown protocol.
    """
    for name in (f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        match os.environ.get(name, "").strip().lower():
            case "":
                continue
            case "grpc":
                # Otherwise the C library writes messages about a dead collector to stderr.
                os.environ.setdefault("GRPC_VERBOSITY", "NONE")
                return "grpc"
            case "http/protobuf":
                return "http/protobuf"
            case other:
                raise TelemetryError(f"{name}: {other!r} is neither grpc nor http/protobuf")
    return "http/protobuf"


def read_queue_sizes(prefix: Literal["OTEL_BSP", "OTEL_BLRP"]) -> tuple[int, int]:
    """Return the queue size and the batch size, in items.

    Raises TelemetryError for a size that is not a positive number.
    """
    queue = _read_positive(f"{prefix}_MAX_QUEUE_SIZE", _QUEUE_ITEMS)
    return queue, min(queue, _read_positive(f"{prefix}_MAX_EXPORT_BATCH_SIZE", _BATCH_ITEMS))


def _read_positive(name: str, default: int) -> int:
    text = os.environ.get(name, "").strip()
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and int(text)):
        raise TelemetryError(f"{name}: {text!r} is not a positive number")
    return int(text)


def check_otel_variables() -> None:
    """Raise TelemetryError for the first OTEL_* variable with an invalid value."""
    for signal in ("traces", "logs"):
        read_protocol(signal)
    read_queue_sizes("OTEL_BSP")
    read_queue_sizes("OTEL_BLRP")
    for name in ("", "TRACES_", "LOGS_"):
        _check_seconds(f"OTEL_EXPORTER_OTLP_{name}TIMEOUT")


def _check_seconds(name: str) -> None:
    text = os.environ.get(name, "").strip()
    if text and not re.fullmatch(r"\d+(\.\d+)?", text):
        raise TelemetryError(f"{name}: {text!r} is not a number of seconds")


class ExportQueue:
    """Admission and counts of one signal's queue: each item is sent, failed or dropped.

    The SDK's batch processor stores the items. Any thread may call `admit`; the SDK's thread calls
    `send`.
    """

    def __init__(self, signal: Signal, queue_items: int, metrics: Metrics) -> None:
        self._signal = signal
        self._capacity = queue_items
        self._duration = metrics.export_duration
        self._items = metrics.export_items
        self._queue_gauge = metrics.export_queue.child(signal)
        for outcome in (SENT, FAILED, DROPPED):
            self._items.child(signal, outcome)  # create the series at 0, so that rates work
        self._lock = threading.Lock()
        self._waiting = 0
        self._closed = False
        self._is_failing = False
        self._lost = 0
        _exporter_errors.install()

    def admit(self) -> bool:
        """Reserve a place for one item; return False, and count the item as dropped, when full."""
        with self._lock:
            fits = self._waiting < self._capacity and not self._closed
            if fits:
                self._waiting += 1
        if not fits:
            full = f"{self._capacity} are queued already"
            reason = "the service is shutting down" if self._closed else full
            self._count_lost(DROPPED, 1, reason)
        return fits

    def send(
        self, export: Callable[[Sequence[Item]], Result], batch: Sequence[Item], success: Result
    ) -> Result:
        """Export a batch of admitted items and record the result."""
        started = perf_counter()
        result: Result | None = None
        try:
            result = export(batch)
        finally:  # an exporter that raises has lost its batch too
            self._record(len(batch), result is success, perf_counter() - started)
        return result

    def _record(self, count: int, success: bool, duration_s: float) -> None:
        self._duration.child(self._signal, SENT if success else FAILED).observe(duration_s)
        with self._lock:
            if self._closed:  # `close` has counted the batch as dropped
                return
            waiting = self._waiting = self._waiting - count
        if success:
            self._items.child(self._signal, SENT).inc(count)
            self._end_outage(waiting)
        else:
            self._count_lost(FAILED, count, _exporter_errors.first or "no answer in time")

    def update_gauge(self) -> None:
        """Set the gauge to the queue length; setting it on each span would be too expensive."""
        self._queue_gauge.set(self._waiting)

    def close(self) -> None:
        """Count the items still queued as dropped, at the end of a shutdown."""
        with self._lock:
            left, self._waiting, self._closed = self._waiting, 0, True
        self.update_gauge()
        if left:
            self._items.child(self._signal, DROPPED).inc(left)
            _log.warning("%d %s were not exported before the shutdown", left, self._noun)

    def _count_lost(self, outcome: str, count: int, reason: str) -> None:
        self._items.child(self._signal, outcome).inc(count)
        self._lost += count
        if not self._is_failing:  # one line for each outage, not for each batch
            self._is_failing = True
            _log.warning(
                "%s cannot be exported: %s. The service continues; "
                "telemetry_export_items_total counts the lost items.",
                self._noun,
                reason,
            )

    def _end_outage(self, waiting: int) -> None:
        _exporter_errors.first = ""
        if self._is_failing and waiting <= self._capacity // 2:
            self._is_failing = False
            _log.info("%s are exported again; %d were lost", self._noun, self._lost)
            self._lost = 0

    @property
    def _noun(self) -> str:
        return "spans" if self._signal == "traces" else "log records"


class _ExporterErrors(logging.Handler):
    """Stores the first error of an outage; the exporters repeat it for every attempt."""

    first = ""

    def install(self) -> None:
        """Receive the exporters' log lines, so that they do not reach the log."""
        exporters = logging.getLogger("opentelemetry.exporter")
        exporters.propagate = False
        if self not in exporters.handlers:
            exporters.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Store the first line since the last successful batch."""
        self.first = self.first or record.getMessage()


_exporter_errors = _ExporterErrors(logging.WARNING)
