"""Direct writes: parts of a streamed body that the connection takes at once. ASGI middleware.

A stream sends thousands of small parts, and the layers between the application and the connection
need only the first and the last message. Without this module each part took 10 microseconds in
them, most of it in Hypercorn and h11, and 2 to 4 times as many with 50 streams open.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from service.api.middleware.send_timeout import App, Receive, Send
from telemetry import current_request

# The name of the ASGI extension: a function that writes a part of the body to the connection. It
# returns False where the part must be sent as a message, also because the client is slow.
BODY_WRITER: Final = "service.body_writer"


class DirectBody:
    """Wraps an ASGI app: parts that the server's body writer takes are not sent as messages."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        write: Callable[[bytes], bool] | None = scope.get("extensions", {}).get(BODY_WRITER)
        if write is None:
            await self._app(scope, receive, send)
            return
        info = current_request()

        async def write_or_send(message: Any) -> None:
            if not (message.get("more_body") and write(body := message["body"])):
                await send(message)
            elif info:
                info.direct_bytes += len(body)

        await self._app(scope, receive, write_or_send)
