"""OTLP receivers over HTTP and over gRPC.

Each is given `answer`, which gets a signal and the uncompressed bytes, and can be closed and
opened again on its port. Source: https://opentelemetry.io/docs/specs/otlp/
"""

from __future__ import annotations

import contextlib
import gzip
import socket
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

import grpc  # type: ignore[import-untyped]  # it has no stubs
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

Answer = Callable[[Literal["traces", "logs"], bytes], tuple[int, int] | None]

_PROTOBUF = "application/x-protobuf"
_GRPC_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    503: grpc.StatusCode.UNAVAILABLE,
}


def _response(signal: Literal["traces", "logs"], rejected: int) -> bytes:
    response: Any
    if signal == "traces":
        response = ExportTraceServiceResponse()
        response.partial_success.rejected_spans = rejected
    else:
        response = ExportLogsServiceResponse()
        response.partial_success.rejected_log_records = rejected
    if rejected:
        response.partial_success.error_message = "some were not to our taste"
    else:
        response.ClearField("partial_success")
    serialized: bytes = response.SerializeToString()
    return serialized


class _Server(ThreadingHTTPServer):
    """Knows its connections, to end them, and its threads, to wait for them."""

    daemon_threads = False

    def __init__(self, port: int, answer: Answer) -> None:
        self.answer = answer
        self._connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), _Handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self._connections.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        """End every connection."""
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that left: that is part of the play."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"  # persistent connections, like those of a collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        signal = self._signal()
        if signal is None:
            self.send_error(404)
            return
        if self.headers["Content-Type"] != _PROTOBUF:
            self.send_error(415)
            return
        if self.headers["Content-Encoding"] == "gzip":
            body = gzip.decompress(body)
        answer = self.server.answer(signal, body)
        if answer is None:
            self.close_connection = True
            return
        status, rejected = answer
        said = _response(signal, rejected) if status == 200 else b""
        self.send_response(status)
        self.send_header("Content-Type", _PROTOBUF)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def _signal(self) -> Literal["traces", "logs"] | None:
        if self.path == "/v1/traces":
            return "traces"
        return "logs" if self.path == "/v1/logs" else None

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base's name
        """Say nothing."""


class HttpFront:
    """OTLP over HTTP with protobuf, gzip or plain."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._server: _Server | None = None
        self._thread = threading.Thread()
        self.port = 0

    def open(self) -> None:
        """Listen, on the port of before if there was one."""
        self._server = _Server(self.port, self._answer)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self) -> None:
        """Stop listening and end every connection."""
        server, self._server = self._server, None
        if server is None:
            return
        server.shutdown()
        self._thread.join()
        server.hang_up()
        server.server_close()


class GrpcFront:
    """OTLP over gRPC."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._server: Any = None
        self.port = 0

    def open(self) -> None:
        """Listen, on the port of before if there was one."""
        # Without SO_REUSEPORT, a port that another process uses is an error and is not shared.
        self._threads = ThreadPoolExecutor(8)
        self._server = grpc.server(self._threads, options=(("grpc.so_reuseport", 0),))
        self._server.add_generic_rpc_handlers((self._service("traces"), self._service("logs")))
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        self._server.start()

    def close(self) -> None:
        """Stop listening and end every connection."""
        server, self._server = self._server, None
        if server is None:
            return
        server.stop(None).wait()
        self._threads.shutdown()

    def _service(self, signal: Literal["traces", "logs"]) -> Any:
        def export(body: bytes, context: Any) -> bytes:
            answer = self._answer(signal, body)
            status, rejected = answer or (503, 0)
            if status != 200:
                context.abort(_GRPC_CODES[status], "not now")
            return _response(signal, rejected)

        service = {"traces": "trace.v1.TraceService", "logs": "logs.v1.LogsService"}[signal]
        # No deserializer: it is the very bytes that are wanted.
        return grpc.method_handlers_generic_handler(
            f"opentelemetry.proto.collector.{service}",
            {"Export": grpc.unary_unary_rpc_method_handler(export)},
        )
