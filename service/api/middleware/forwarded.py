"""The client behind trusted proxies, for everything that follows. ASGI middleware.

Replaces the address of the connection, its scheme and its `Host` by those that the proxies of
TRUSTED_PROXIES report, so that limits, logs and cookies refer to the client. Hypercorn's
ProxyFixMiddleware counts hops and trusts any peer, so that a client which reaches the service
directly chooses its own address.
"""

from __future__ import annotations

import logging
from typing import Any, Final

from service.access.addresses import Origination, TrustedProxies
from service.api.middleware.send_timeout import App, Receive, Send

_log = logging.getLogger(__name__)

_ORIGINAL_HOST: Final = "service.original_host"
_IS_DIRECT: Final = "service.is_direct"


class ForwardedClient:
    """Wraps an ASGI app: each scope has the client that the trusted proxies report."""

    def __init__(self, app: App, proxies: TrustedProxies) -> None:
        self._app = app
        self._proxies = proxies
        self._has_warned = False

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            address, port = scope.get("client") or ("", 0)
            origin = self._proxies.find_origin(address, scope["headers"])
            if not origin.is_direct:
                self._warn(address)
            scope = _replace_client(scope, origin, port if origin.address == address else 0)
        await self._app(scope, receive, send)

    def _warn(self, peer: str) -> None:
        """Log once that a peer sends the headers of a proxy that is not trusted."""
        if not (self._has_warned or self._proxies.trust(peer)):
            self._has_warned = True
            _log.warning(
                "requests from %s have the headers of a proxy, which is not in TRUSTED_PROXIES: "
                "all its clients share one address",
                peer,
            )


def find_original_host(scope: Any) -> str | None:
    """Return the `Host` that a proxy sent, where it reports another one."""
    host: str | None = scope.get(_ORIGINAL_HOST)
    return host


def is_direct(scope: Any) -> bool:
    """Return whether the address is that of the client, not of a proxy that hides it."""
    return bool(scope.get(_IS_DIRECT, True))


def _replace_client(scope: Any, origin: Origination, port: int) -> Any:
    changed = {**scope, "client": (origin.address, port), _IS_DIRECT: origin.is_direct}
    if origin.scheme:
        is_websocket = scope["type"] == "websocket"
        changed["scheme"] = (
            {"http": "ws", "https": "wss"}[origin.scheme] if is_websocket else origin.scheme
        )
    if origin.host:
        headers = scope["headers"]
        hosts = [value for name, value in headers if name == b"host"]
        changed["headers"] = [
            (b"host", origin.host.encode()),
            *(each for each in headers if each[0] != b"host"),
        ]
        changed[_ORIGINAL_HOST] = hosts[0].decode("latin-1") if hosts else None
    return changed
