"""One serving process: Hypercorn on a given socket, and a drain before it ends."""

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
from service.server.connections import patch_connections
from service.server.http1 import patch_http1
from service.server.http2 import patch_http2
from service.server.websockets import patch_websockets
from service.settings import Settings

_log = logging.getLogger(__name__)

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
RELOAD_SIGNAL = signal.SIGHUP

_IDLE_CONNECTION_S = 75.0
_ECHO_S = 0.05  # within which a second signal is a duplicate
_CLOSE_S = 3.0  # in which connections may end after their last event


def serve(
    settings: Settings,
    variables: Mapping[str, str],
    sock: socket.socket,
    *,
    parent: int | None = None,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Serve on `sock` until SIGTERM or SIGINT, then drain; a second signal ends the process.

    SIGHUP reads `ensembles.toml` and `limits.toml` again.

    `parent` is the read end of a pipe whose other end the parent holds: its end of file, when the
    parent dies, starts the drain too. Raises EnsemblesError.
    """
    services = create_app(settings, variables)
    patch_connections()
    patch_http1()
    patch_http2()
    patch_websockets()
    tune_garbage_collector()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(services, sock, parent, ready))


def tune_garbage_collector() -> None:
    """Exclude the objects of the start-up from collections, and collect less often.

    A request leaves eight small objects in cycles, those of werkzeug's router, but 300 open runs
    have 180,000 objects, all of which a collection visits: after every 10,000 new ones collections
    took 8 % of the CPU, after 50,000 4 %, after 200,000 0.5 %. So much garbage has 15 MB.
    """
    gc.freeze()
    gc.set_threshold(200_000, 20, 20)


async def _serve(
    services: Services, sock: socket.socket, parent: int | None, ready: Callable[[], None]
) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_on_loop_error)
    signals = STOP_SIGNALS if parent is None else (signal.SIGTERM,)
    for number in signals:
        loop.add_signal_handler(number, _on_signal, loop, stopping, signals)
    loop.add_signal_handler(RELOAD_SIGNAL, services.request_reload)
    if parent is not None:
        # Ctrl-C reaches the whole process group; the supervisor forwards it once.
        loop.add_signal_handler(signal.SIGINT, lambda: None)
        loop.add_reader(parent, _on_orphaned, loop, parent, stopping)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (*STOP_SIGNALS, RELOAD_SIGNAL))

    async def drain_when_stopping() -> None:
        await stopping.wait()
        _log.info("draining: new runs are refused, open ones may finish")
        await services.runs.drain(services.settings.drain_s)
        services.sockets.close()
        loop.call_later(_CLOSE_S + 1.0, _cancel_again, serving)

    config = _config(sock)
    config.websocket_max_message_size = services.settings.max_body_bytes
    # Pings make proxies keep an idle socket open; the kernel detects lost peers.
    config.websocket_ping_interval = services.settings.keep_alive_s
    serving = asyncio.ensure_future(
        hypercorn_serve(services.asgi, config, shutdown_trigger=drain_when_stopping)
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
    # After that many requests Hypercorn ends an HTTP/2 connection, with its open streams.
    config.keep_alive_max_requests = sys.maxsize
    config.h2_max_header_list_size = config.h11_max_incomplete_size  # 16 KB
    config.accesslog = None
    hypercorn_log = logging.getLogger("hypercorn.error")
    hypercorn_log.setLevel(logging.WARNING)
    config.errorlog = hypercorn_log
    return config


def _cancel_again(serving: asyncio.Future[None]) -> None:
    """Cancel tasks that still run although they were cancelled, until `serving` is done.

    Hypercorn cancels the connections that it could not close in time. Their tasks then wait until
    the client has read everything: for a stalled client 20 s, until the kernel drops it.
    """
    for task in asyncio.all_tasks():
        # Python 3.11's TaskGroup leaves `cancelling()` set on the task that used it.
        if task.cancelling() and task is not serving:
            task.cancel()
    if not serving.done():
        asyncio.get_running_loop().call_later(0.1, _cancel_again, serving)


def _on_signal(
    loop: asyncio.AbstractEventLoop, stopping: asyncio.Event, signals: Iterable[signal.Signals]
) -> None:
    """Start the drain; the next signal ends the process.

    A second signal within _ECHO_S is ignored: one to the process group arrives twice, directly and
    through `make`.
    """
    stopping.set()
    for number in signals:
        loop.add_signal_handler(number, lambda: None)
        loop.call_later(_ECHO_S, loop.add_signal_handler, number, _end_now)


def _end_now() -> None:
    _log.warning("second signal: ending without a drain")
    sys.stderr.flush()
    os._exit(1)


def _on_loop_error(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log errors that no task handles; a lost or cancelled connection only as debug.

    Hypercorn does not catch the OSError of such a connection, Python 3.11 not its cancellation.
    """
    error = context.get("exception")
    if isinstance(error, OSError | asyncio.CancelledError):
        _log.debug("a connection was lost: %s", error)
    else:
        loop.default_exception_handler(context)


def _on_orphaned(loop: asyncio.AbstractEventLoop, parent: int, stopping: asyncio.Event) -> None:
    loop.remove_reader(parent)
    stopping.set()
