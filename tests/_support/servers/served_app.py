"""An ASGI app on a socket in this process, behind the service's own HTTP server."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from hypercorn import protocol
from hypercorn.asyncio import run, serve
from hypercorn.config import Config
from hypercorn.protocol import h11

from service.server.connections import patch_connections
from service.server.http1 import patch_http1

_REPLACED = (
    (run, "WorkerContext"),
    (run, "TCPServer"),
    (protocol, "H11Protocol"),
    (h11, "HTTPStream"),
)


@dataclass
class ServedApp:
    """A server: its port, and the event that ends it."""

    port: int
    stop: asyncio.Event
    server: asyncio.Task[None]


@asynccontextmanager
async def serving(app: Any, *, idle_s: float = 75.0) -> AsyncIterator[ServedApp]:
    """Serve `app`; Hypercorn has its own classes again afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        for module, name in _REPLACED:
            patch.setattr(module, name, getattr(module, name))
        patch_connections()
        patch_http1()
        listener = socket.create_server(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        config = Config()
        config.bind = [f"fd://{listener.detach()}"]
        config.graceful_timeout = 1
        config.keep_alive_timeout = idle_s
        config.accesslog = config.errorlog = None
        stop = asyncio.Event()
        server = asyncio.create_task(serve(app, config, shutdown_trigger=stop.wait))
        yield ServedApp(port, stop, server)
        stop.set()
        await server
