"""A client that sends a request and does not read the response."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


@asynccontextmanager
async def connect_without_reading(
    port: int, request: bytes, buffer_bytes: int = 65_536
) -> AsyncIterator[socket.socket]:
    """Send a request and leave the answer where it is."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
    sock.setblocking(False)
    try:
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, ("127.0.0.1", port))
        await loop.sock_sendall(sock, request)
        yield sock
    finally:
        sock.close()
