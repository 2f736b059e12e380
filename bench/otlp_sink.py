"""A stub collector that receives OTLP/HTTP traces and counts them.

Runs as its own process, `python -m bench.otlp_sink`. The first part of the path is its condition:
`/well/v1/traces` answers immediately, `/slow/…` after 30 s, `/refusing/…` with 503. `GET /counts`
returns the numbers of requests, bytes and spans; bodies are decoded only then, so that decoding
does not affect measurements.
"""

from __future__ import annotations

import asyncio
import gzip

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from quart import Quart, Response, request

from bench.stub_server import run

_SLOW_S = 30.0


class Sink:
    """The counts of the well collector, and its bodies that are not decoded yet."""

    def __init__(self) -> None:
        self.requests = self.bytes = self.spans = 0
        self._bodies: list[bytes] = []

    def add(self, body: bytes) -> None:
        self.requests += 1
        self.bytes += len(body)
        self._bodies.append(body)

    def count(self) -> dict[str, int]:
        """Return the numbers of requests, bytes and spans. Raises DecodeError for invalid OTLP."""
        bodies, self._bodies = self._bodies, []
        self.spans += sum(map(_count_spans, bodies))
        return {"requests": self.requests, "bytes": self.bytes, "spans": self.spans}


def _count_spans(body: bytes) -> int:
    plain = gzip.decompress(body) if body.startswith(b"\x1f\x8b") else body
    message = ExportTraceServiceRequest.FromString(plain)
    return sum(len(scope.spans) for each in message.resource_spans for scope in each.scope_spans)


def create_app() -> Quart:
    """Return the application."""
    app = Quart("otlp-sink", static_folder=None)
    app.config["RESPONSE_TIMEOUT"] = None
    sink = Sink()
    response_body = ExportTraceServiceResponse().SerializeToString()

    @app.post("/<condition>/v1/traces")
    async def traces(condition: str) -> Response:
        body: bytes = await request.data
        if condition == "refusing":
            return Response("", 503)
        if condition == "slow":
            await asyncio.sleep(_SLOW_S)
        else:
            sink.add(body)
        return Response(response_body, content_type="application/x-protobuf")

    @app.get("/counts")
    async def counts() -> dict[str, int]:
        return sink.count()

    return app


if __name__ == "__main__":
    # Do not wait for slow responses at the end.
    run(create_app(), graceful_s=0.1)
