"""The socket of face B when the service itself is at fault."""

from __future__ import annotations

import json
from typing import cast

import pytest
from quart import Quart
from quart.testing.connections import WebsocketDisconnectError

from service.api.chat import websocket
from service.api.middleware.origins import Origins
from service.runs.runs import Runs


class _Broken:
    draining = False

    async def start(self, _ask: object) -> None:
        raise LookupError("a bug")


async def test_a_bug_closes_the_socket_with_a_code_that_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = Quart("test")
    websocket.install(app, cast(Runs, _Broken()), websocket.Sockets(), Origins(""))
    async with app.test_client().websocket("/chat") as socket:
        await socket.send(json.dumps({"messages": [{"role": "user", "content": "Why?"}]}))
        with pytest.raises(WebsocketDisconnectError) as closed:
            await socket.receive()
    assert closed.value.args == (1011,)
    assert "a bug" in caplog.text
