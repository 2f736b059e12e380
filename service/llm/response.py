"""Reading one response of a model's server into a Reply while it arrives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

import httpx

from service.coalescing import CoalescingWindow
from service.domain import ToolCall
from service.errors import BadStream, UpstreamBroken
from service.llm.failures import make_status_error
from service.llm.protocol import Call
from service.llm.reply import Reply
from service.llm.resilience import Deadlines
from service.llm.sse_decoder import SSEDecoder
from service.llm.transport import TRANSPORT_ERRORS, ResponseBody, get_body
from telemetry import ChatOperation

# Receives a piece of the answer: text, or a piece of a tool call.
OnPiece = Callable[[str | ToolCall], Awaitable[None]]

_MAX_ERROR_BYTES = 65_536
_ERROR_WAIT_S = 2.0  # for the body of an error; the status alone is an error too
_MAX_STREAM_BYTES = 268_435_456
_TRAILER_WAIT_S = 0.05
_SLOW = 1.25  # windows per token; if tokens are further apart, none arrives while waiting


@dataclass(slots=True)
class ResponseReader:
    """Reads the response to `call` into `reply`.

    Passes each piece of the answer to `on_piece`, and reports tokens to `deadlines` and `span`.
    `max_bytes` limits a response that is one JSON document.
    """

    call: Call
    reply: Reply
    on_piece: OnPiece
    span: ChatOperation
    deadlines: Deadlines
    coalescing: CoalescingWindow
    max_bytes: int

    async def read(self, response: httpx.Response) -> None:
        """Read `response`, streamed or not.

        Raises UpstreamError for an error status, an error object, data outside of the protocol,
        and a stream that ends before the answer is complete.
        """
        model = self.call.model
        body = get_body(response)
        blocks = aiter(body)
        if response.status_code != 200:
            error_body = await _read_error_body(blocks)
            raise make_status_error(response.status_code, response.headers, error_body, model)
        encoding = response.headers.get("content-encoding", "identity")
        if encoding != "identity":
            raise BadStream(f"{model} sent the encoding {encoding}; only identity is accepted.")
        # Some servers ignore `stream` and send a single JSON document.
        if response.headers.get("content-type", "").startswith("application/json"):
            await self._take([await self._read_document(blocks)])
            return
        await self._read_stream(blocks, _TokenWait(body, self))
        if not (self.reply.done or self.reply.finish_reason):
            raise UpstreamBroken(f"{model} ended its answer before it was complete.")

    async def _read_document(self, blocks: AsyncIterator[bytes]) -> bytes:
        document = bytearray()
        async for block in blocks:
            document += block
            if len(document) > self.max_bytes:
                raise BadStream(
                    f"{self.call.model} sent a response of more than {self.max_bytes} bytes "
                    "(MAX_RESPONSE_BYTES)."
                )
        return bytes(document)

    async def _read_stream(self, blocks: AsyncIterator[bytes], token_wait: _TokenWait) -> None:
        decoder = SSEDecoder(max_total_bytes=_MAX_STREAM_BYTES)
        async for block in blocks:
            events = decoder.feed(block)
            await self._take([event.data for event in events])
            if self.reply.done:
                # Read the end of the body too, or the connection cannot be reused.
                with suppress(TimeoutError, *TRANSPORT_ERRORS):
                    async with asyncio.timeout(_TRAILER_WAIT_S):
                        async for _ in blocks:
                            pass
                return
            await token_wait.wait(len(events))
        with suppress(BadStream):  # a truncated last event: incomplete, not invalid
            await self._take([event.data for event in decoder.finish()])

    async def _take(self, chunks: list[bytes]) -> None:
        """Add chunks that arrived together, and pass their text on as one piece."""
        added = self.reply.take(chunks, self.call.model)
        if added.has_tokens:
            self.deadlines.progress()
            self.span.record_first_chunk()
        if added.text:
            await self.on_piece(added.text)
        for call in added.calls:
            await self.on_piece(call)
        if added.error:
            raise added.error


class _TokenWait:
    """Waits for more tokens before the next read, while there is load (service/coalescing.py).

    A watched stream waits briefly, and not before its first token. Others have no reader before
    they are complete: they wait longer, but not after the end of the body.
    """

    def __init__(self, body: ResponseBody | httpx.AsyncByteStream, reader: ResponseReader) -> None:
        self._coalescing = reader.coalescing
        self._body = body if isinstance(body, ResponseBody) else None
        self._reply = reader.reply
        self._watched = reader.call.watched
        self._loop = asyncio.get_running_loop()
        self._last = self._loop.time()
        self._body_end: asyncio.Future[None] | None = None
        if self._body and not self._watched:
            self._body_end = self._loop.create_future()
            self._body.on_end(self._end)

    async def wait(self, events: int) -> None:
        """Wait one window, if the `events` since the last call suggest that it brings more."""
        coalescing = self._coalescing
        window_s = coalescing.window_s if self._watched else coalescing.long_window_s
        if not (window_s and self._reply.parts) or (self._body and self._body.has_rest):
            return
        now, last = self._loop.time(), self._last
        self._last = now
        if now - last >= _SLOW * window_s * events:
            return
        if self._watched:
            await asyncio.sleep(window_s)
        elif self._body_end:
            await asyncio.wait([self._body_end], timeout=window_s)

    def _end(self) -> None:
        if self._body_end and not self._body_end.done():
            self._body_end.set_result(None)


async def _read_error_body(blocks: AsyncIterator[bytes]) -> bytes:
    """Return the body of an error response, or what arrives of it within the limits."""
    body = bytearray()
    with suppress(TimeoutError, BadStream, *TRANSPORT_ERRORS):
        async with asyncio.timeout(_ERROR_WAIT_S):
            async for block in blocks:
                body += block
                if len(body) >= _MAX_ERROR_BYTES:
                    break
    return bytes(body[:_MAX_ERROR_BYTES])
