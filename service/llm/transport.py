"""HTTP transport for the client: httpx over aiohttp, with faster reading of bodies."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport
from httpx_aiohttp.transport import AiohttpResponseStream

# The errors of a connection; httpx-aiohttp does not translate all of aiohttp's errors.
TRANSPORT_ERRORS = (httpx.TransportError, aiohttp.ClientError, OSError)

_IDLE_CONNECTION_S = 30.0
_BODY = "service.body"


class ResponseBody:
    """Iterates over the blocks of a response's body; the caller closes the response.

    Reads from aiohttp directly, because the layers of httpx and httpx-aiohttp around each block
    cost more than reading it.
    """

    def __init__(self, content: aiohttp.StreamReader) -> None:
        self._content = content

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if block := await self._content.readany():
            return block
        raise StopAsyncIteration

    def on_end(self, callback: Callable[[], None]) -> None:
        """Call `callback` once the complete body has arrived, read or not."""
        self._content.on_eof(callback)


def get_body(response: httpx.Response) -> ResponseBody | httpx.AsyncByteStream:
    """Return the body of a response: a ResponseBody, or the stream of another transport."""
    body = response.extensions.get(_BODY)
    if isinstance(body, ResponseBody):
        return body
    assert isinstance(response.stream, httpx.AsyncByteStream)  # noqa: S101
    return response.stream


class UpstreamTransport(AiohttpTransport):
    """The transport of httpx-aiohttp, with a ResponseBody in its responses."""

    def __init__(self) -> None:
        super().__init__(client=_create_session)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await super().handle_async_request(request)
        assert isinstance(response.stream, AiohttpResponseStream)  # noqa: S101
        content = response.stream._aiohttp_response.content  # noqa: SLF001  (no public access)
        response.extensions[_BODY] = ResponseBody(content)
        return response


def _create_session() -> aiohttp.ClientSession:
    # Not the default session: it is limited to 100 connections, which would queue runs.
    context = httpx.create_ssl_context()
    assert isinstance(context, ssl.SSLContext)  # noqa: S101
    connector = aiohttp.TCPConnector(limit=0, ssl=context, keepalive_timeout=_IDLE_CONNECTION_S)
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
