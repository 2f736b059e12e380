"""HTTP transport for the client: httpx over aiohttp, with faster reading of bodies."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from functools import partial
from time import monotonic
from typing import Any

import aiohttp
import httpx
from aiohttp.client_proto import ResponseHandler
from httpx_aiohttp.transport import AiohttpResponseStream, map_aiohttp_exceptions

from service.coalescing import CoalescingWindow
from service.llm.connection import UpstreamConnection

# The errors of a connection; httpx-aiohttp does not translate all of aiohttp's errors.
TRANSPORT_ERRORS = (httpx.TransportError, aiohttp.ClientError, OSError)

_IDLE_CONNECTION_S = 30.0
# aiohttp stops to read at twice as much, and at a sixteenth as many chunks, 2 ms of work.
_READ_BUFFER_BYTES = 32_768
# At most this much is decoded together, complete events if it has any.
_SLICE_BYTES = 4_096
_EVENT_END = b"\n\n"
_MAX_WORK_S = 0.001
_SMALL_BYTES = 1_024  # such blocks are all that was received, so the next read waits
# Of a request; a longer one written at once would be encrypted and copied at once.
_MAX_WRITE_BYTES = 262_144
_BODY = "service.body"
_ADDED_BY_AIOHTTP = frozenset({b"host", b"content-length"})
# Only for connecting, and with `connect` for the look-up of the host's address too; the deadlines
# of a call apply to everything after that.
_TIMEOUT = aiohttp.ClientTimeout(connect=10.0, sock_connect=10.0)


class ResponseBody:
    """Iterates over the blocks of a response's body; the caller closes the response.

    Reads from aiohttp directly, because the layers of httpx and httpx-aiohttp around each block
    cost more than reading it.
    """

    def __init__(
        self, content: aiohttp.StreamReader, connection: UpstreamConnection | None = None
    ) -> None:
        self._content = content
        self._connection = connection  # None if the body was complete with its head
        self._block = b""
        self._position = 0  # in `_block`
        self._returned_at = 0.0  # of a block that is not small
        self._work_s = 0.0  # of the caller with the blocks since the last pause

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._returned_at:
            self._work_s += monotonic() - self._returned_at
            if self._work_s > _MAX_WORK_S:  # readany() returns at once while there is data
                self._work_s = 0.0
                await asyncio.sleep(0)
        block = self._next_slice() or self._cut(await self._content.readany())
        if not block:
            raise StopAsyncIteration
        self._returned_at = monotonic() if len(block) > _SMALL_BYTES else 0.0
        return block

    def _next_slice(self) -> bytes:
        """Return the next slice of a block that was too long."""
        if not self._block:
            return b""
        start, limit = self._position, self._position + _SLICE_BYTES
        end = self._block.rfind(_EVENT_END, start, limit)
        self._position = limit if end < 0 else end + len(_EVENT_END)
        data = self._block[start : self._position]
        if self._position >= len(self._block):
            self._block = b""
        return data

    def _cut(self, block: bytes) -> bytes:
        """Return the first slice of a block; retain the others."""
        if len(block) <= _SLICE_BYTES:  # nearly always
            return block
        self._block, self._position = block, 0
        return self._next_slice()

    @property
    def has_rest(self) -> bool:
        """Whether the next block has been read."""
        return bool(self._block)

    def gather(self, window: CoalescingWindow, *, is_watched: bool) -> None:
        """Read the connection in frames from now on (service/llm/gathering.py)."""
        if self._connection is not None and not self._content.is_eof():
            self._connection.gather(window, is_watched=is_watched)

    @property
    def is_gathering(self) -> bool:
        """Whether the connection is read in frames."""
        return self._connection is not None and self._connection.is_gathering


def get_body(response: httpx.Response) -> ResponseBody | httpx.AsyncByteStream:
    """Return the body of a response: a ResponseBody, or the stream of another transport."""
    body = response.extensions.get(_BODY)
    if isinstance(body, ResponseBody):
        return body
    assert isinstance(response.stream, httpx.AsyncByteStream)  # noqa: S101
    return response.stream


class UpstreamTransport(httpx.AsyncBaseTransport):
    """Sends requests with aiohttp. The body of a request must be complete, as bytes.

    A proxy receives every request. httpx-aiohttp does the same in more steps, which took a
    quarter of the CPU of a request; its translation of errors is used.
    """

    def __init__(self, proxy: httpx.Proxy | None = None) -> None:
        self._session: aiohttp.ClientSession | None = None
        self._proxy = str(proxy.url) if proxy else None
        self._proxy_headers = proxy.headers if proxy else None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request; return the response when its head has arrived.

        Raises httpx.TransportError, and errors of aiohttp and the system that it does not have.
        """
        session = self._session
        if session is None:  # aiohttp needs a running event loop
            session = self._session = _create_session()
        content, headers = request.read(), _list_headers(request.headers)
        data: bytes | _LongBody | None = content or None
        if len(content) > _MAX_WRITE_BYTES:
            data = _LongBody(content)
            headers.append(("Content-Length", str(len(content))))
        try:
            response = await session.request(
                request.method,
                str(request.url),
                headers=headers,
                data=data,
                allow_redirects=False,
                proxy=self._proxy,
                proxy_headers=self._proxy_headers,
            )
        except Exception:
            with map_aiohttp_exceptions():
                raise
        connection = response.connection.protocol if response.connection else None
        assert connection is None or isinstance(connection, UpstreamConnection)  # noqa: S101
        return httpx.Response(
            response.status,
            headers=response.raw_headers,
            stream=AiohttpResponseStream(response),
            extensions={_BODY: ResponseBody(response.content, connection)},
            request=request,
        )

    async def aclose(self) -> None:
        """Close all connections."""
        if self._session:
            await self._session.close()


def _list_headers(headers: httpx.Headers) -> list[tuple[str, str]]:
    """Return the headers for aiohttp without those that it adds: the host and the length."""
    return [
        (name.decode("ascii"), value.decode("latin-1"))
        for name, value in headers.raw
        if name.lower() not in _ADDED_BY_AIOHTTP
    ]


class _LongBody(httpx.AsyncByteStream):
    """The body of a request, sent as fast as the server reads it instead of all at once."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._position = 0

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        start, self._position = self._position, self._position + _MAX_WRITE_BYTES
        if part := self._content[start : self._position]:
            return part
        raise StopAsyncIteration


def _create_session() -> aiohttp.ClientSession:
    # Not the default session: it is limited to 100 connections, which would queue runs.
    context = httpx.create_ssl_context()
    assert isinstance(context, ssl.SSLContext)  # noqa: S101
    connector = _Connector(limit=0, ssl=context, keepalive_timeout=_IDLE_CONNECTION_S)
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        read_bufsize=_READ_BUFFER_BYTES,
        timeout=_TIMEOUT,
        auto_decompress=False,
    )


class _Connector(aiohttp.TCPConnector):
    """The connector of aiohttp, which creates an UpstreamConnection for each connection."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        create: Callable[..., ResponseHandler] = UpstreamConnection
        self._factory = partial(create, self._loop)  # aiohttp has no public parameter for it

    async def _wrap_create_connection(
        self, *arguments: Any, **options: Any
    ) -> tuple[asyncio.Transport, ResponseHandler]:
        (create,) = arguments
        created: list[ResponseHandler] = []

        def create_and_note() -> ResponseHandler:
            created.append(create())
            return created[-1]

        try:
            return await super()._wrap_create_connection(create_and_note, **options)
        except BaseException:
            # uvloop closes the transport of a cancelled caller without a connection_lost(), and the
            # two refer to each other.
            for each in created:
                each.transport = None
            raise
        finally:
            created.clear()
