"""Serving of a small Quart application in its own process, with the service's server."""

from __future__ import annotations

import asyncio
import signal

import uvloop
from hypercorn.asyncio import serve
from quart import Quart

# Private, to use the same server configuration as the service.
from service.server.process import _config
from service.server.sockets import base_url, listen, raise_open_file_limit


def run(app: Quart, *, graceful_s: float | None = None) -> None:
    """Serve `app` and print its URL; at SIGTERM open requests get `graceful_s` to finish."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(app, graceful_s))


async def _serve(app: Quart, graceful_s: float | None) -> None:
    raise_open_file_limit()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    sock = listen("127.0.0.1", 0)
    print(f"The {app.import_name} is at {base_url(sock)}", flush=True)

    async def wait_for_stop() -> None:
        await stop.wait()

    config = _config(sock)
    if graceful_s is not None:
        config.graceful_timeout = graceful_s
    await serve(app, config, shutdown_trigger=wait_for_stop)
