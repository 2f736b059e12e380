"""The open WebSockets of a process, which are closed at shutdown."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class OpenSockets:
    """The open WebSockets, each with a future that is done once the socket has to close."""

    def __init__(self) -> None:
        self._closing: set[asyncio.Future[None]] = set()
        self._is_closing = False

    @contextmanager
    def register(self) -> Iterator[asyncio.Future[None]]:
        """Register a socket for as long as the block lasts; yield its future."""
        closing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._is_closing:  # its handshake was under way when the shutdown started
            closing.set_result(None)
        self._closing.add(closing)
        try:
            yield closing
        finally:
            self._closing.discard(closing)

    def close(self) -> None:
        """Close all sockets, and every socket that opens from now on."""
        self._is_closing = True
        for closing in self._closing:
            closing.set_result(None)
