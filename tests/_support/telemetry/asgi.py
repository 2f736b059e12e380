"""ASGI requests without a server: a connection, and an application for it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from telemetry import current_request
from telemetry.http.middleware import ASGIApp


@dataclass
class Wire:
    """One ASGI connection: what the server would put in, what it got out."""

    sent: list[dict[str, Any]] = field(default_factory=list)
    inbox: asyncio.Queue[dict[str, Any]] = field(default_factory=asyncio.Queue)

    async def send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)

    @property
    def headers(self) -> dict[str, str]:
        opening = next(message for message in self.sent if "headers" in message)
        return {name.decode().lower(): value.decode() for name, value in opening["headers"]}

    @property
    def status(self) -> int:
        status = self.sent[0]["status"]
        assert isinstance(status, int)
        return status


async def call(app: ASGIApp, path: str = "/x", method: str = "GET", **headers: str) -> Wire:
    """Send one request through `app`; header names are written with underscores."""
    wire = Wire()
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "scheme": "http",
        "http_version": "1.1",
        "headers": [
            (name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()
        ],
    }
    await app(scope, wire.inbox.get, wire.send)
    return wire


def answering(status: int = 200, *chunks: bytes, route: str = "/x") -> ASGIApp:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        request = current_request()
        assert request is not None
        request.route = route
        await send({"type": "http.response.start", "status": status, "headers": []})
        for chunk in chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body"})

    return app
