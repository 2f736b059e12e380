"""The floor: a Quart application on Hypercorn that only yields prepared events.

Runs as its own process, `python -m bench.floor`, with the configuration of the service's server.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from quart import Quart, Response

from bench.stub_server import run

# Private, but the floor must send the same headers as the service.
from service.api.http.sse import HEADERS


def build_event(number: int) -> bytes:
    """Return an event like an answer delta of `/api/process`, with one token."""
    return (
        f"id: run_0123456789abcdef0123456789abcdef-{number}\n"
        'data: {"message_id": "bench", "conversation_id": "conv_0123456789abcdef0123456789abcdef", '
        '"status": "Streaming", "source": "stream-combine", "message": " floor", '
        f'"type": "answer.delta", "seq": {number}}}\n\n'
    ).encode()


def create_app() -> Quart:
    """Return the application: `/<count>/<gap_ms>` streams `count` events, one every `gap_ms`."""
    app = Quart("floor", static_folder=None)
    app.config["RESPONSE_TIMEOUT"] = None
    events = [build_event(number) for number in range(1, 1001)]

    @app.get("/<int:count>/<int:gap_ms>")
    async def stream(count: int, gap_ms: int) -> Response:
        async def paced() -> AsyncGenerator[bytes, None]:
            for each in events[:count]:
                yield each
                await asyncio.sleep(gap_ms / 1000)

        async def back_to_back() -> AsyncGenerator[bytes, None]:
            for each in events[:count]:
                yield each

        body = paced() if gap_ms else back_to_back()
        response = Response(body, headers=HEADERS, content_type="text/event-stream; charset=utf-8")
        response.timeout = None
        return response

    return app


if __name__ == "__main__":
    run(create_app())
