"""What leaves the process by OTLP: which signals, over which protocol, and what became of it.

A collector that is dead, slow or refuses costs the service nothing but memory for one bounded
queue: what does not fit is dropped at once, and counted. The standard OTEL_* variables decide all.

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
# Encoding a batch holds the GIL, 16 µs a span; a request costs 0.7 ms however much is in it.
_BATCH_ITEMS = 128


class TelemetryError(Exception):
    """A standard variable has a value that nothing can be done with; the message names it."""


def should_export_traces(env: Mapping[str, str]) -> bool:
    """Return whether traces are to be sent: where to or by what is named, and nothing forbids."""
    exporters = _exporters(env, "OTEL_TRACES_EXPORTER")
    if is_disabled(env) or "none" in exporters:
        return False
    endpoints = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    return "otlp" in exporters or any(env.get(name, "").strip() for name in endpoints)


def should_export_logs(env: Mapping[str, str]) -> bool:
    """Return whether log records are to be sent too: only when their exporter is named."""
    return not is_disabled(env) and "otlp" in _exporters(env, "OTEL_LOGS_EXPORTER")


def is_disabled(env: Mapping[str, str]) -> bool:
    """Return whether OTEL_SDK_DISABLED turns everything off."""
    return env.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"


def _exporters(env: Mapping[str, str], name: str) -> set[str]:
    return {each.strip().lower() for each in env.get(name, "").split(",")}


def protocol_of(signal: Signal) -> Protocol:
    """Return the protocol that the variables name; HTTP when they name none.

    Raises TelemetryError.
    """
    for name in (f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        match os.environ.get(name, "").strip().lower():
            case "":
                continue
            case "grpc":
                # The C library writes its own complaints about a dead collector to stderr.
                os.environ.setdefault("GRPC_VERBOSITY", "NONE")
                return "grpc"
            case "http/protobuf":
                return "http/protobuf"
            case other:
                raise TelemetryError(f"{name}: {other!r} is neither grpc nor http/protobuf")
    return "http/protobuf"


def queue_sizes(prefix: Literal["OTEL_BSP", "OTEL_BLRP"]) -> tuple[int, int]:
    """Return how many items may wait, and how many go out together. Raises TelemetryError."""
    queue = _positive(f"{prefix}_MAX_QUEUE_SIZE", _QUEUE_ITEMS)
    return queue, min(queue, _positive(f"{prefix}_MAX_EXPORT_BATCH_SIZE", _BATCH_ITEMS))


def _positive(name: str, default: int) -> int:
    text = os.environ.get(name, "").strip()
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and int(text)):
        raise TelemetryError(f"{name}: {text!r} is not a positive number")
    return int(text)


def check_otel_variables() -> None:
    """Raise TelemetryError, naming it, for a variable that nothing can be done with."""
    for signal in ("traces", "logs"):
        protocol_of(signal)
    queue_sizes("OTEL_BSP")
    queue_sizes("OTEL_BLRP")
    for name in ("", "TRACES_", "LOGS_"):
        _seconds(f"OTEL_EXPORTER_OTLP_{name}TIMEOUT")


def _seconds(name: str) -> None:
    text = os.environ.get(name, "").strip()
    if text and not re.fullmatch(r"\d+(\.\d+)?", text):
        raise TelemetryError(f"{name}: {text!r} is not a number of seconds")


class ExportQueue:
    """The account of one signal's queue: every item is sent, failed or dropped, and counted.

    Items come from any thread; batches go out from the SDK's own.
    """

    def __init__(self, signal: Signal, queue_items: int, metrics: Metrics) -> None:
        self._signal = signal
        self._room = queue_items
        self._duration = metrics.export_duration
        self._items = metrics.export_items
        self._waiting_gauge = metrics.export_queue.child(signal)
        for outcome in (SENT, FAILED, DROPPED):
            self._items.child(signal, outcome)  # on the page from the start, so that rates work
        self._lock = threading.Lock()
        self._waiting = 0
        self._closed = False
        self._in_trouble = False
        self._lost = 0
        _last_words.install()

    def admit(self) -> bool:
        """Take a place in the queue for one item; False, and counted, when there is none."""
        with self._lock:
            fits = self._waiting < self._room and not self._closed
            if fits:
                self._waiting += 1
        if not fits:
            why = "the service ends" if self._closed else f"{self._room} wait already"
            self._lose(DROPPED, 1, why)
        return fits

    def send(
        self, export: Callable[[Sequence[Item]], Result], batch: Sequence[Item], success: Result
    ) -> Result:
        """Export a batch whose items were admitted and note what came of it."""
        began = perf_counter()
        result: Result | None = None
        try:
            result = export(batch)
        finally:  # an exporter that raises has lost its batch like one that says so
            self._note(len(batch), result is success, perf_counter() - began)
        return result

    def _note(self, count: int, well: bool, duration_s: float) -> None:
        self._duration.child(self._signal, SENT if well else FAILED).observe(duration_s)
        with self._lock:
            if self._closed:  # counted as dropped by now, and too late to matter
                return
            waiting = self._waiting = self._waiting - count
        if well:
            self._items.child(self._signal, SENT).inc(count)
            self._recover(waiting)
        else:
            self._lose(FAILED, count, _last_words.first or "no answer in time")

    def show(self) -> None:
        """Put the queue's length on the page; on each span it would cost more than the rest."""
        self._waiting_gauge.set(self._waiting)

    def close(self) -> None:
        """Count what still waits as dropped; for when there is no more time."""
        with self._lock:
            left, self._waiting, self._closed = self._waiting, 0, True
        self.show()
        if left:
            self._items.child(self._signal, DROPPED).inc(left)
            _log.warning("%d %s could not be sent before the end", left, self._noun)

    def _lose(self, outcome: str, count: int, why: str) -> None:
        self._items.child(self._signal, outcome).inc(count)
        self._lost += count
        if not self._in_trouble:  # one line for an outage, not one for each batch
            self._in_trouble = True
            _log.warning(
                "%s cannot be sent: %s. The service goes on; what is lost is counted in "
                "telemetry_export_items_total.",
                self._noun,
                why,
            )

    def _recover(self, waiting: int) -> None:
        _last_words.first = ""
        if self._in_trouble and waiting <= self._room // 2:
            self._in_trouble = False
            _log.info("%s are sent again; %d were lost", self._noun, self._lost)
            self._lost = 0

    @property
    def _noun(self) -> str:
        return "spans" if self._signal == "traces" else "log records"


class _LastWords(logging.Handler):
    """Keeps what the exporters say first of an outage; they say it again for every attempt."""

    first = ""

    def install(self) -> None:
        """Take the exporters' lines, in place of the log."""
        exporters = logging.getLogger("opentelemetry.exporter")
        exporters.propagate = False
        if self not in exporters.handlers:
            exporters.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the first line since a batch got through."""
        self.first = self.first or record.getMessage()


_last_words = _LastWords(logging.WARNING)
