"""An OTLP collector for tests, which records what it receives and can fail on demand."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from types import TracebackType
from typing import Literal

from tests._support.clients.api import until
from tests._support.otlp.fronts import GrpcFront, HttpFront
from tests._support.otlp.signals import LogRecord, Span, logs_of, spans_of
from tests._support.otlp.traces import Trace

Protocol = Literal["http/protobuf", "grpc"]
Signal = Literal["traces", "logs"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """A sink's treatment of each request; an HTTP `status` is mapped to its gRPC equivalent."""

    status: int = 200
    delay_s: float = 0.0
    is_silent: bool = False  # takes the request and never answers
    rejected: int = 0  # spans or records that it says it could not take


WELL = Behaviour()
REFUSING = Behaviour(status=400)
UNAVAILABLE = Behaviour(status=503)
BLACK_HOLE = Behaviour(is_silent=True)
PARTIAL = Behaviour(rejected=1)


def slow(delay_s: float) -> Behaviour:
    """Answer well, after `delay_s`."""
    return Behaviour(delay_s=delay_s)


class Sink:
    """A collector on two free ports, one a protocol. Its servers are threads of this process."""

    def __init__(self, behaviour: Behaviour = WELL) -> None:
        self._behaviour = behaviour
        self._changed = threading.Event()  # wakes those whom the behaviour made wait
        self._lock = threading.Lock()
        self._spans: list[Span] = []
        self._logs: list[LogRecord] = []
        self._malformed: list[Exception] = []
        self._raw: list[bytes] = []
        self._requests = 0
        self._http = HttpFront(self._answer)
        self._grpc = GrpcFront(self._answer)

    def __enter__(self) -> Sink:
        self.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def open(self) -> None:
        """Listen, after a `close` on the same ports again."""
        self._http.open()
        self._grpc.open()

    def close(self) -> None:
        """Be gone: ports closed, connections ended, nothing answered any more."""
        self._wake()
        self._http.close()
        self._grpc.close()

    def behave(self, behaviour: Behaviour) -> None:
        """Treat requests so from now on; those that wait are dropped."""
        self._behaviour = behaviour
        self._wake()

    def variables(self, protocol: Protocol = "http/protobuf", /, **more: str) -> dict[str, str]:
        """Return the settings that make a service export here without delay."""
        port = self._grpc.port if protocol == "grpc" else self._http.port
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
            "OTEL_BSP_SCHEDULE_DELAY": "50",
            "OTEL_BLRP_SCHEDULE_DELAY": "50",
            **more,
        }

    @property
    def requests(self) -> int:
        """The number of requests received, whether they succeeded or failed."""
        return self._requests

    @property
    def raw(self) -> bytes:
        """Every byte of protobuf that was taken, uncompressed."""
        with self._lock:
            return b"\n".join(self._raw)

    def spans(self) -> list[Span]:
        """Return the spans taken so far, in the order of their arrival."""
        with self._lock:
            assert self._malformed == []
            return list(self._spans)

    def logs(self) -> list[LogRecord]:
        """Return the log records taken so far."""
        with self._lock:
            assert self._malformed == []
            return list(self._logs)

    def trace(self, trace_id: str) -> Trace:
        """Return the part of a trace that has been received."""
        return Trace(tuple(span for span in self.spans() if span.trace_id == trace_id))

    async def traced(self, trace_id: str, *names: str) -> Trace:
        """Wait until a trace has spans with these names, by default the request's; return it.

        An exporter sends spans in the order of their ends: name those that end last.
        """
        wanted = set(names or ("POST /api/process",))

        async def there() -> bool:
            return wanted <= {span.name for span in self.trace(trace_id).spans}

        await until(there)
        return self.trace(trace_id)

    def _wake(self) -> None:
        waiting, self._changed = self._changed, threading.Event()
        waiting.set()

    def _answer(self, signal: Signal, body: bytes) -> tuple[int, int] | None:
        """Return status and count of rejected items; None for no answer at all."""
        behaviour, changed = self._behaviour, self._changed
        with self._lock:
            self._requests += 1
        if behaviour.is_silent:
            changed.wait()
            return None
        if behaviour.delay_s and changed.wait(behaviour.delay_s):
            return None
        if behaviour.status == 200:
            self._take(signal, body)
        return behaviour.status, behaviour.rejected

    def _take(self, signal: Signal, body: bytes) -> None:
        with self._lock:
            self._raw.append(body)
            try:
                if signal == "traces":
                    self._spans += spans_of(body)
                else:
                    self._logs += logs_of(body)
            except Exception as error:  # noqa: BLE001  # in a thread; raised where it is looked at
                self._malformed.append(error)
