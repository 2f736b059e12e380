"""The network under the client: httpx over aiohttp, with a leaner way to read a body."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport
from httpx_aiohttp.transport import AiohttpResponseStream

# What a connection can fail with; httpx-aiohttp lets some of aiohttp's errors through as they are.
TRANSPORT_ERRORS = (httpx.TransportError, aiohttp.ClientError, OSError)

_IDLE_CONNECTION_S = 30.0
_BODY = "service.body"


class ResponseBody:
    """A response's body as it arrives. Whoever reads it closes the response.

    Straight from aiohttp: the layers that httpx and httpx-aiohttp put around each block cost more
    than reading it.
    """

    def __init__(self, content: aiohttp.StreamReader) -> None:
        self._content = content

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if block := await self._content.readany():
            return block
        raise StopAsyncIteration

    def on_end(self, then: Callable[[], None]) -> None:
        """Call `then` once the whole body is here, even if nobody has read it yet."""
        self._content.on_eof(then)


def get_body(response: httpx.Response) -> ResponseBody | httpx.AsyncByteStream:
    """Return what to read a response from: a Body, or with another transport its plain stream."""
    body = response.extensions.get(_BODY)
    if isinstance(body, ResponseBody):
        return body
    assert isinstance(response.stream, httpx.AsyncByteStream)  # noqa: S101
    return response.stream


class UpstreamTransport(AiohttpTransport):
    """httpx-aiohttp's transport, whose responses have a Body."""

    def __init__(self) -> None:
        super().__init__(client=_session)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await super().handle_async_request(request)
        assert isinstance(response.stream, AiohttpResponseStream)  # noqa: S101
        content = response.stream._aiohttp_response.content  # noqa: SLF001  (no public way)
        response.extensions[_BODY] = ResponseBody(content)
        return response


def _session() -> aiohttp.ClientSession:
    # Our own session: httpx-aiohttp's is bounded to 100 connections, which would queue runs.
    context = httpx.create_ssl_context()
    assert isinstance(context, ssl.SSLContext)  # noqa: S101
    connector = aiohttp.TCPConnector(limit=0, ssl=context, keepalive_timeout=_IDLE_CONNECTION_S)
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
