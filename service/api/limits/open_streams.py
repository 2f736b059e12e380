"""Ends the open streams of a request with its response. ASGI middleware.

An answer counts as an open stream until its last byte, a client that disconnects, or an error: the
application returns after each of them.
"""

from __future__ import annotations

from typing import Any, Final

from service.api.middleware.send_timeout import App, Receive, Send
from service.limits.limiter import Permit

_PERMITS: Final = "service.permits"


class OpenStreams:
    """Wraps an ASGI app: what `hold` has added to a scope is released after its response."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        permits: list[Permit] = []
        try:
            await self._app({**scope, _PERMITS: permits}, receive, send)
        finally:
            for permit in permits:
                permit.release()


def hold(scope: Any, permit: Permit) -> None:
    """Hold `permit` until the end of the response to `scope`."""
    scope[_PERMITS].append(permit)
