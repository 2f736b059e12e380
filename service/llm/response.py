"""Reads one response of a model's server into a Reply, as it comes."""

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
from service.llm.protocol import Call, Reply
from service.llm.resilience import Deadlines
from service.llm.sse_decoder import SSEDecoder
from service.llm.transport import TRANSPORT_ERRORS, ResponseBody, get_body
from telemetry import ChatOperation

# Takes a piece of the answer: text, or of a tool call.
OnPiece = Callable[[str | ToolCall], Awaitable[None]]

_MAX_ERROR_BYTES = 65_536
_MAX_BODY_BYTES = 268_435_456
_TRAILER_WAIT_S = 0.05
_SLOW = 1.25  # windows a token: with fewer tokens than that, waiting for more is in vain


@dataclass(slots=True)
class Incoming:
    """One answer on its way: what was asked, where it goes, and who watches over it."""

    call: Call
    reply: Reply
    on_piece: OnPiece
    span: ChatOperation
    deadlines: Deadlines
    pace: CoalescingWindow


async def receive(response: httpx.Response, to: Incoming) -> None:
    """Fill `to.reply` from `response`, streamed or whole.

    Raises UpstreamError for a refusal, an error object, what is not the protocol, and a stream
    that ends before the answer is complete.
    """
    who = to.call.model
    body = get_body(response)
    blocks = aiter(body)
    if response.status_code != 200:
        said = await _read(blocks, _MAX_ERROR_BYTES)
        raise make_status_error(response.status_code, response.headers, said, who)
    encoding = response.headers.get("content-encoding", "identity")
    if encoding != "identity":
        raise BadStream(f"{who} sent {encoding} although it was asked not to.")
    # Some servers ignore `stream` and answer whole.
    if response.headers.get("content-type", "").startswith("application/json"):
        await _take([await _read(blocks, _MAX_BODY_BYTES)], to)
        return
    await _stream(blocks, _Window(body, to), to)
    if not (to.reply.done or to.reply.finish_reason):
        raise UpstreamBroken(f"{who} ended its answer before it was complete.")


async def _stream(blocks: AsyncIterator[bytes], window: _Window, to: Incoming) -> None:
    decoder = SSEDecoder(max_total_bytes=_MAX_BODY_BYTES)
    async for block in blocks:
        events = decoder.feed(block)
        await _take([event.data for event in events], to)
        if to.reply.done:
            # Read the end of the body too, or the connection cannot be used again.
            with suppress(TimeoutError, *TRANSPORT_ERRORS):
                async with asyncio.timeout(_TRAILER_WAIT_S):
                    async for _ in blocks:
                        pass
            return
        await window.wait(len(events))
    with suppress(BadStream):  # a last event cut short: incomplete, not garbage
        await _take([event.data for event in decoder.finish()], to)


async def _take(chunks: list[bytes], to: Incoming) -> None:
    """Add chunks that arrived together and pass their text on as one piece."""
    reply = to.reply
    pieces, calls, life = len(reply.parts), len(reply.calls), reply.signs_of_life
    try:
        reply.take(chunks, to.call.model)
    finally:
        if reply.signs_of_life > life:
            to.deadlines.progress()
            to.span.record_first_chunk()
        if len(reply.parts) > pieces:
            await to.on_piece("".join(reply.parts[pieces:]))
        for call in reply.calls[calls:]:
            await to.on_piece(call)


class _Window:
    """Lets tokens gather before they are read, when there is load (see service.pace).

    Somebody reads along with a watched stream, so it waits little, and not for its first token.
    Nobody sees the others until they are complete: they wait longer, but never past the end of
    the body.
    """

    def __init__(self, body: ResponseBody | httpx.AsyncByteStream, to: Incoming) -> None:
        self._pace = to.pace
        self._reply = to.reply
        self._watched = to.call.watched
        self._loop = asyncio.get_running_loop()
        self._last = self._loop.time()
        self._ended: asyncio.Future[None] | None = None
        if isinstance(body, ResponseBody) and not self._watched:
            self._ended = self._loop.create_future()
            body.on_end(self._end)

    async def wait(self, events: int) -> None:
        """Wait a window if so many events since the last call say that more will come in it."""
        window_s = self._pace.window_s if self._watched else self._pace.long_window_s
        if not (window_s and self._reply.parts):
            return
        now, last = self._loop.time(), self._last
        self._last = now
        if now - last >= _SLOW * window_s * events:
            return
        if self._watched:
            await asyncio.sleep(window_s)
        elif self._ended:
            await asyncio.wait([self._ended], timeout=window_s)

    def _end(self) -> None:
        if self._ended and not self._ended.done():
            self._ended.set_result(None)


async def _read(blocks: AsyncIterator[bytes], limit: int) -> bytes:
    body = bytearray()
    async for block in blocks:
        body += block
        if len(body) > limit:
            raise BadStream("A response was larger than the service accepts.")
    return bytes(body)
