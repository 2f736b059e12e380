"""The network under the client: httpx over aiohttp, and a word about when a body has arrived."""

from __future__ import annotations

import ssl
from collections.abc import Callable

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport
from httpx_aiohttp.transport import AiohttpResponseStream

# A response's extension: call it with a function to be called once the whole body is here.
ON_BODY_END = "on_body_end"
OnBodyEnd = Callable[[Callable[[], None]], None]

# What a connection can fail with; httpx-aiohttp lets some of aiohttp's errors through as they are.
TRANSPORT_ERRORS = (httpx.TransportError, aiohttp.ClientError, OSError)

_IDLE_CONNECTION_S = 30.0


class UpstreamTransport(AiohttpTransport):
    """httpx-aiohttp's transport, with `ON_BODY_END` on each response.

    A reader that takes its time learns of the end at once: aiohttp buffers what arrives meanwhile.
    """

    def __init__(self) -> None:
        super().__init__(client=_session)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await super().handle_async_request(request)
        assert isinstance(response.stream, AiohttpResponseStream)  # noqa: S101
        body = response.stream._aiohttp_response.content  # noqa: SLF001  (no public way)
        response.extensions[ON_BODY_END] = body.on_eof
        return response


def _session() -> aiohttp.ClientSession:
    # Our own session: httpx-aiohttp's is bounded to 100 connections, which would queue runs.
    context = httpx.create_ssl_context()
    assert isinstance(context, ssl.SSLContext)  # noqa: S101
    connector = aiohttp.TCPConnector(limit=0, ssl=context, keepalive_timeout=_IDLE_CONNECTION_S)
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
