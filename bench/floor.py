"""The floor: what Quart on Hypercorn costs when a generator yields ready-made events.

A process of its own, `python -m bench.floor`, configured as the service's server is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from quart import Quart, Response

from bench.standin import run

# Private, but a floor on another configuration would be none.
from service.api.http.sse import HEADERS


def event(number: int) -> bytes:
    """Return an event of the size and shape of face A's answer deltas, with one token."""
    return (
        f"id: run_0123456789abcdef0123456789abcdef-{number}\n"
        'data: {"message_id": "bench", "conversation_id": "conv_0123456789abcdef0123456789abcdef", '
        '"status": "Streaming", "source": "stream-combine", "message": " floor", '
        f'"type": "answer.delta", "seq": {number}}}\n\n'
    ).encode()


def create_app() -> Quart:
    """Return the application: `/<count>/<gap_ms>` streams that many events at that pace."""
    app = Quart("floor", static_folder=None)
    app.config["RESPONSE_TIMEOUT"] = None
    events = [event(number) for number in range(1, 1001)]

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
