"""A forward proxy for HTTP: requests with absolute addresses, and tunnels (CONNECT)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass
class ForwardProxy:
    """A proxy that connects every host to one local port, and records what it was asked.

    With `authorization` it answers 407 to requests without that header.
    """

    target_port: int
    authorization: str | None = None
    port: int = 0
    requests: list[str] = field(default_factory=list)  # the request lines

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        head = await reader.readuntil(b"\r\n\r\n")
        line, *headers = head.decode().removesuffix("\r\n\r\n").split("\r\n")
        self.requests.append(line)
        if self.authorization and f"proxy-authorization: {self.authorization}".lower() not in [
            each.lower() for each in headers
        ]:
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n")
            writer.close()
            return
        upstream_reader, upstream = await asyncio.open_connection("127.0.0.1", self.target_port)
        if line.startswith("CONNECT "):
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            method, url, version = line.split(" ")
            path = "/" + url.split("://", 1)[1].partition("/")[2]
            kept = [each for each in headers if not each.lower().startswith("proxy-")]
            upstream.write("\r\n".join([f"{method} {path} {version}", *kept, "", ""]).encode())
        await asyncio.gather(_copy(reader, upstream), _copy(upstream_reader, writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(OSError):
        writer.close()


@asynccontextmanager
async def forward_proxy(
    target_port: int, authorization: str | None = None
) -> AsyncIterator[ForwardProxy]:
    """Serve a proxy in front of a local port until the block ends."""
    proxy = ForwardProxy(target_port, authorization)
    server = await asyncio.start_server(proxy.handle, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
