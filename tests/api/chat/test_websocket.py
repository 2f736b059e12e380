"""The WebSocket of `/chat` when the service itself fails."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import cast

import pytest
from quart import Quart
from quart.testing.connections import WebsocketDisconnectError

from service.accounts.audit import Audit
from service.api.chat import websocket
from service.api.chat.open_sockets import OpenSockets
from service.api.dependencies import ApiDependencies
from service.api.http import principal
from service.api.middleware.origins import Origins


class _BrokenRuns:
    def check_accepting(self) -> None:
        pass

    async def start(self, _ask: object, admit: object) -> None:
        raise LookupError("a bug")


async def test_an_unexpected_error_closes_the_socket_with_code_1011(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = Quart("test")
    principal.install(app, None, cast(Audit, None))
    api = SimpleNamespace(
        runs=_BrokenRuns(),
        sockets=OpenSockets(),
        origins=Origins(""),
        **dict.fromkeys(("limiter", "audit", "telemetry", "catalog")),
    )
    websocket.install(app, cast(ApiDependencies, api))
    async with app.test_client().websocket("/chat") as socket:
        await socket.send(json.dumps({"messages": [{"role": "user", "content": "Why?"}]}))
        with pytest.raises(WebsocketDisconnectError) as closed:
            await socket.receive()
    assert closed.value.args == (1011,)
    assert "a bug" in caplog.text
