"""The caller of a request, resolved once by a guard in front of every handler.

Handlers pass the `Principal` on explicitly: nothing below `service/api/` reads it from the
request. There are no accounts yet, so every caller is the anonymous owner.
"""

from __future__ import annotations

from quart import Quart, g

from service.access.principal import ANONYMOUS, Principal


def install(app: Quart) -> None:
    """Resolve the principal of every request and WebSocket handshake of `app`."""
    app.before_request(_resolve)
    app.before_websocket(_resolve)


def current_principal() -> Principal:
    """Return the principal of the current request or WebSocket."""
    principal: Principal = g.principal
    return principal


async def _resolve() -> None:
    g.principal = ANONYMOUS
