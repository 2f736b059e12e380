"""One process that serves: Hypercorn on our own socket, and a drain when told to stop."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import uvloop
from hypercorn.asyncio import serve as hypercorn_serve
from hypercorn.config import Config

from service.app import Services, create_app
from service.server.websockets import bound_websockets
from service.settings import Settings

_log = logging.getLogger(__name__)

TOLD_BY = (signal.SIGTERM, signal.SIGINT)  # to end

_IDLE_CONNECTION_S = 75.0
_ECHO_S = 0.05
_CLOSE_S = 3.0  # for connections to end after their last event


def serve(
    settings: Settings,
    variables: Mapping[str, str],
    sock: socket.socket,
    *,
    parent: int | None = None,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Serve on `sock` until SIGTERM or SIGINT, then drain; a second signal ends at once.

    `parent` is a pipe's read end: its end of file, the parent's death, drains as well.
    Raises EnsemblesError.
    """
    services = create_app(settings, variables)
    bound_websockets()
    # What start-up made stays: do not look through it for garbage, and look less often.
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(services, sock, parent, ready))


async def _serve(
    services: Services, sock: socket.socket, parent: int | None, ready: Callable[[], None]
) -> None:
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_on_loop_error)
    heeds = TOLD_BY if parent is None else (signal.SIGTERM,)
    for number in heeds:
        loop.add_signal_handler(number, _on_signal, loop, told, heeds)
    if parent is not None:
        # Under a supervisor Ctrl-C reaches the whole group; the parent passes it on, once.
        loop.add_signal_handler(signal.SIGINT, lambda: None)
        loop.add_reader(parent, _on_orphaned, loop, parent, told)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, TOLD_BY)

    async def drained() -> None:
        await told.wait()
        _log.info("draining: new runs are refused, open ones may finish")
        await services.runs.drain(services.settings.drain_s)
        services.sockets.close()
        loop.call_later(_CLOSE_S + 1.0, _let_go, serving)

    config = _config(sock)
    config.websocket_max_message_size = services.settings.max_body_bytes
    # So that proxies keep a silent socket open. Who vanished is noticed by the kernel.
    config.websocket_ping_interval = services.settings.keep_alive_s
    serving = asyncio.ensure_future(
        hypercorn_serve(services.asgi, config, shutdown_trigger=drained)
    )
    ready()
    await serving
    _log.info("stopped")


def _config(sock: socket.socket) -> Config:
    config = Config()
    config.bind = [f"fd://{sock.detach()}"]
    config.backlog = 2_048
    config.include_server_header = False
    config.keep_alive_timeout = _IDLE_CONNECTION_S
    config.graceful_timeout = _CLOSE_S
    # Past this Hypercorn ends an HTTP/2 connection with the streams that are open on it.
    config.keep_alive_max_requests = sys.maxsize
    config.accesslog = None
    hypercorn_log = logging.getLogger("hypercorn.error")
    hypercorn_log.setLevel(logging.WARNING)
    config.errorlog = hypercorn_log
    return config


def _let_go(serving: asyncio.Future[None]) -> None:
    """Cancel again what goes on although it was cancelled, until `serving` is over.

    Hypercorn cancels the connections it could not close in time, and their last act is to wait
    until a client that does not read has read all: 20 s, until the kernel gives it up.
    """
    for task in asyncio.all_tasks():
        # Python 3.11's TaskGroup leaves the mark on the task that used it.
        if task.cancelling() and task is not serving:
            task.cancel()
    if not serving.done():
        asyncio.get_running_loop().call_later(0.1, _let_go, serving)


def _on_signal(
    loop: asyncio.AbstractEventLoop, told: asyncio.Event, heeds: Iterable[signal.Signals]
) -> None:
    """Drain, and let the next signal end at once.

    What comes in the same moment is an echo: a signal to the whole group reaches us directly and
    once more through `make`.
    """
    told.set()
    for number in heeds:
        loop.add_signal_handler(number, lambda: None)
        loop.call_later(_ECHO_S, loop.add_signal_handler, number, _end_now)


def _end_now() -> None:
    _log.warning("ending now")
    sys.stderr.flush()
    os._exit(1)


def _on_loop_error(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what no task handles. A peer that vanished or was let go is no fault of ours: Hypercorn
    lets the OSError of such a connection escape, Python 3.11 the cancellation.
    """
    error = context.get("exception")
    if isinstance(error, OSError | asyncio.CancelledError):
        _log.debug("a connection was lost: %s", error)
    else:
        loop.default_exception_handler(context)


def _on_orphaned(loop: asyncio.AbstractEventLoop, parent: int, told: asyncio.Event) -> None:
    loop.remove_reader(parent)
    told.set()
