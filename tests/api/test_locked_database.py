"""A database that is locked: each API refuses a question in time, and states when to retry."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from quart import Quart
from quart.testing import WebsocketResponseError
from werkzeug.exceptions import ServiceUnavailable

from service.api.http import errors
from service.app import create_app
from service.errors import StorageUnavailable
from service.settings import Settings
from service.store.migrate import migrate
from telemetry import Telemetry, TelemetryConfig
from tests._support.recovery.database_faults import locked

QUESTIONS: dict[str, dict[str, Any]] = {
    "/api/process": {"message": "Why?", "message_id": "message_1"},
    "/chat": {"messages": [{"role": "user", "content": "Why?"}]},
    "/stream": {"prompt": "Why?"},
    "/conversation": {"message": "Why?"},
    "/v1/chat/completions": {"model": "fanout", "messages": [{"role": "user", "content": "Why?"}]},
    "/v1/responses": {"model": "fanout", "input": "Why?"},
}


@asynccontextmanager
async def _serving(app: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Start an application, yield a client of it, and shut it down."""
    to_app: asyncio.Queue[Any] = asyncio.Queue()
    from_app: asyncio.Queue[Any] = asyncio.Queue()
    scope = {"type": "lifespan", "asgi": {}, "state": {}}
    lifespan = asyncio.create_task(app(scope, to_app.get, from_app.put))
    await to_app.put({"type": "lifespan.startup"})
    assert (await from_app.get())["type"] == "lifespan.startup.complete"
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        yield client
    await to_app.put({"type": "lifespan.shutdown"})
    assert (await from_app.get())["type"] == "lifespan.shutdown.complete"
    await lifespan


async def test_each_api_refuses_a_question_in_time_and_states_when_to_retry(
    tmp_path: Path,
) -> None:
    settings = Settings(
        database_url=f"sqlite:///{tmp_path}/service.db",  # type: ignore[arg-type]
        spool_dir=tmp_path / "spool",
        store_timeout_s=0.5,
    )
    await migrate(settings.database)
    async with _serving(create_app(settings, {}).asgi) as client:
        with locked(tmp_path / "service.db"):
            for path, body in QUESTIONS.items():
                started = time.monotonic()
                response = await client.post(path, json=body)
                assert response.status_code == 503, (path, response.text)
                assert int(response.headers["retry-after"]) > 0
                assert "storage_unavailable" in response.text
                assert time.monotonic() - started < 0.5 + 10  # for a machine with other work
        await asyncio.sleep(1)  # the next commit succeeds


@pytest.mark.parametrize("path", ["/refused", "/v1/refused", "/unavailable"])
async def test_every_503_has_a_retry_after(path: str) -> None:
    app = Quart("test")
    errors.install(app, Telemetry(TelemetryConfig()))

    @app.get("/refused")
    @app.get("/v1/refused")
    async def refuse() -> str:
        raise StorageUnavailable("The database cannot be reached.", reason="down")

    @app.get("/unavailable")
    async def abort() -> str:
        raise ServiceUnavailable

    response = await app.test_client().get(path)
    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) > 0


async def test_a_websocket_that_is_refused_has_a_retry_after() -> None:
    app = Quart("test")
    errors.install(app, Telemetry(TelemetryConfig()))

    @app.websocket("/socket")
    async def refuse() -> None:
        raise StorageUnavailable("The database cannot be reached.", reason="down")

    with pytest.raises(WebsocketResponseError) as refused:
        async with app.test_client().websocket("/socket") as socket:
            await socket.receive()
    response = refused.value.response
    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) > 0
