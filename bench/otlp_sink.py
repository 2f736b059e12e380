"""A stand-in for a collector: takes OTLP/HTTP traces and counts what came.

A process of its own, `python -m bench.otlp_sink`. The first part of the path says how it feels:
`/well/v1/traces` is answered at once, `/slow/…` after 30 s, `/refusing/…` with 503. `GET /counts`
returns requests, bytes and spans, decoded only then so that nothing is decoded while one measures.
"""

from __future__ import annotations

import asyncio
import gzip

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from quart import Quart, Response, request

from bench.standin import run

_SLOW_S = 30.0


class Sink:
    """What came to the collector that is well: counts, and the bodies not decoded yet."""

    def __init__(self) -> None:
        self.requests = self.bytes = self.spans = 0
        self._bodies: list[bytes] = []

    def take(self, body: bytes) -> None:
        self.requests += 1
        self.bytes += len(body)
        self._bodies.append(body)

    def counts(self) -> dict[str, int]:
        """Return requests, bytes as sent, and spans. Raises DecodeError when a body is no OTLP."""
        bodies, self._bodies = self._bodies, []
        self.spans += sum(map(_spans, bodies))
        return {"requests": self.requests, "bytes": self.bytes, "spans": self.spans}


def _spans(body: bytes) -> int:
    plain = gzip.decompress(body) if body.startswith(b"\x1f\x8b") else body
    message = ExportTraceServiceRequest.FromString(plain)
    return sum(len(scope.spans) for each in message.resource_spans for scope in each.scope_spans)


def create_app() -> Quart:
    """Return the application."""
    app = Quart("otlp-sink", static_folder=None)
    app.config["RESPONSE_TIMEOUT"] = None
    sink = Sink()
    # Of a message without fields there are no bytes.
    thanks = ExportTraceServiceResponse().SerializeToString()

    @app.post("/<feels>/v1/traces")
    async def traces(feels: str) -> Response:
        body: bytes = await request.data
        if feels == "refusing":
            return Response("", 503)
        if feels == "slow":
            await asyncio.sleep(_SLOW_S)
        else:
            sink.take(body)
        return Response(thanks, content_type="application/x-protobuf")

    @app.get("/counts")
    async def counts() -> dict[str, int]:
        return sink.counts()

    return app


if __name__ == "__main__":
    # Whoever waits for a slow answer need not have it.
    run(create_app(), graceful_s=0.1)
