"""The scope of a request behind a trusted proxy has the client, its scheme and its host."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from service.access.addresses import TrustedProxies
from service.api.middleware.forwarded import ForwardedClient, find_original_host, is_direct


async def _receive(scope: dict[str, Any], trusted: str = "127.0.0.1") -> dict[str, Any]:
    """Return the scope that the app behind the middleware receives."""
    received: list[dict[str, Any]] = []

    async def app(scope: dict[str, Any], _receive: object, _send: object) -> None:
        received.append(scope)

    async def unused(*_: object) -> None:
        raise AssertionError

    await ForwardedClient(app, TrustedProxies(trusted))(scope, unused, unused)
    return received[0]


def _scope(kind: str = "http", peer: str = "127.0.0.1", **headers: str) -> dict[str, Any]:
    pairs = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    return {
        "type": kind,
        "scheme": "http" if kind == "http" else "ws",
        "client": (peer, 4711),
        "headers": [(b"host", b"service:8080"), *pairs.items()],
    }


async def test_the_client_of_a_trusted_proxy_replaces_the_connection() -> None:
    scope = _scope(x_forwarded_for="203.0.113.9", x_forwarded_proto="https")
    received = await _receive(scope)
    assert (received["client"], received["scheme"]) == (("203.0.113.9", 0), "https")
    assert is_direct(received)
    assert scope["client"] == ("127.0.0.1", 4711)


async def test_a_websocket_has_the_scheme_of_websockets() -> None:
    received = await _receive(
        _scope("websocket", x_forwarded_for="203.0.113.9", x_forwarded_proto="https")
    )
    assert received["scheme"] == "wss"


async def test_a_direct_client_has_its_own_port() -> None:
    received = await _receive(_scope(peer="203.0.113.9"))
    assert (received["client"], received["scheme"]) == (("203.0.113.9", 4711), "http")
    assert is_direct(received)
    assert find_original_host(received) is None


async def test_the_reported_host_replaces_the_host_and_both_are_known() -> None:
    received = await _receive(
        _scope(x_forwarded_for="203.0.113.9", x_forwarded_host="chat.example.com")
    )
    hosts = [value for name, value in received["headers"] if name == b"host"]
    assert hosts == [b"chat.example.com"]
    assert find_original_host(received) == "service:8080"


async def test_an_untrusted_proxy_is_reported_once_and_not_believed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = ForwardedClient(_ignore, TrustedProxies(""))
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            await app(_scope(x_forwarded_for="1.2.3.4"), _ignore, _ignore)
    assert [record.getMessage().split(" have ")[0] for record in caplog.records] == [
        "requests from 127.0.0.1"
    ]
    received = await _receive(_scope(x_forwarded_for="1.2.3.4"), trusted="")
    assert received["client"] == ("127.0.0.1", 4711)
    assert not is_direct(received)


async def test_lifespan_passes_unchanged() -> None:
    scope = {"type": "lifespan"}
    assert await _receive(scope) is scope


async def _ignore(*_: object) -> None:
    pass
