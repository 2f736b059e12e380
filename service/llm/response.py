"""Reading one response of a model's server into a Reply while it arrives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import httpx

from service.coalescing import FRAME_S, CoalescingWindow
from service.domain import ReasoningPiece, ToolCall
from service.errors import BadStream
from service.llm.decoding.body_format import FirstBytes, get_data
from service.llm.decoding.content import Added
from service.llm.decoding.content_coding import ContentDecoder
from service.llm.failures import make_status_error
from service.llm.protocol import Call
from service.llm.reply import Reply
from service.llm.resilience import Deadlines
from service.llm.sse_decoder import ServerEvent, SSEDecoder
from service.llm.transport import TRANSPORT_ERRORS, ResponseBody, get_body
from telemetry import ChatOperation

# Receives a piece of the answer: text, a piece of a tool call, or reasoning.
Piece = str | ToolCall | ReasoningPiece
OnPiece = Callable[[Piece], Awaitable[None]]


class _Done:
    def __await__(self) -> Generator[None]:
        yield from ()


DONE: Awaitable[None] = _Done()
"""The result of an `OnPiece` with nothing to wait for; unlike a coroutine, it costs nothing."""

_MAX_ERROR_BYTES = 65_536
_ERROR_WAIT_S = 2.0  # for the body of an error; the status alone is an error too
_MAX_STREAM_BYTES = 268_435_456
_TRAILER_WAIT_S = 0.5  # after the reason for the end, for usage and the end marker
_END_OF_BODY_WAIT_S = 0.05  # after the end marker
_BATCH_EVENTS = 128  # decoded before the event loop may do something else; 1 ms for unusual JSON


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
        """Read `response`, streamed or not, whatever its labels state.

        Raises UpstreamError for an error status, an error object, data outside of the protocol,
        and a response that ends before the answer is complete.
        """
        body = get_body(response)
        blocks = aiter(body)
        coding = ContentDecoder(response.headers.get("content-encoding", ""))
        if not response.is_success:
            error_body = await _read_error_body(blocks, coding)
            raise make_status_error(
                response.status_code, response.headers, error_body, self.call.model
            )
        decoder = FirstBytes(_MAX_STREAM_BYTES, self.max_bytes)
        try:
            await self._read_blocks(blocks, _BlockDecoder(coding, decoder), _Frames(body, self))
        except TRANSPORT_ERRORS:
            if not self.reply.has_ended:
                raise
        await self._pass_on(self.reply.finish(self.call.model))

    async def _read_blocks(
        self, blocks: AsyncIterator[bytes], decoder: _BlockDecoder, frames: _Frames
    ) -> None:
        async for block in blocks:
            size = await self._take_plain(block, decoder)
            if size < len(block):
                await self._take_block(block[size:], decoder)
                if self.reply.has_ended:
                    await self._read_trailer(blocks, decoder)
                    return
            if frames.may_wait:
                await frames.wait()
        rest = decoder.finish()
        with suppress(BadStream):  # a truncated last event: incomplete, not invalid
            await self._take(rest)

    async def _read_trailer(self, blocks: AsyncIterator[bytes], decoder: _BlockDecoder) -> None:
        """Read what follows the reason for the end: the usage, the end marker, the end of the body.

        The answer is complete without them. Output extends the wait: some servers send the reason
        with every chunk. The end of the body is read so that the connection can be reused.
        """
        loop, limit = asyncio.get_running_loop(), self.deadlines.complete()
        ends_at = min(limit, loop.time() + _TRAILER_WAIT_S)
        with suppress(TimeoutError, BadStream):
            while True:
                if self.reply.done:
                    ends_at = min(ends_at, loop.time() + _END_OF_BODY_WAIT_S)
                async with asyncio.timeout_at(ends_at):
                    block = await anext(blocks, None)
                if block is None:
                    await self._take(decoder.finish())
                    return
                if self.reply.done:
                    continue
                tokens = self.reply.token_chunks
                await self._take_block(block, decoder)
                if self.reply.token_chunks > tokens:
                    ends_at = min(limit, loop.time() + _TRAILER_WAIT_S)

    async def _take_plain(self, block: bytes, decoder: _BlockDecoder) -> int:
        """Add the events at the start of `block` that are PlainChunks; return their bytes."""
        stream = decoder.stream if self.reply.plain.is_known else None
        if stream is None or not stream.is_between_events:
            return 0
        taken = self.reply.take_plain(block)
        if taken is None:
            return 0
        added, size = taken
        stream.skip(size)
        await self._pass_on(added)
        return size

    async def _take_block(self, block: bytes, decoder: _BlockDecoder) -> None:
        """Add the events that `block` completes."""
        if not decoder.is_plain:
            for piece in decoder.decompress(block):
                await self._take_in_batches(decoder.feed(piece))
                await asyncio.sleep(0)  # one block can become a thousand
            return
        await self._take_in_batches(decoder.feed(block))

    async def _take_in_batches(self, events: Sequence[ServerEvent]) -> None:
        """Add events, with a pause after every so many."""
        if len(events) <= _BATCH_EVENTS:  # nearly always
            await self._take(events)
            return
        for start in range(0, len(events), _BATCH_EVENTS):
            await self._take(events[start : start + _BATCH_EVENTS])
            await asyncio.sleep(0)

    async def _take(self, events: Sequence[ServerEvent]) -> None:
        """Add events that arrived together."""
        data = [get_data(event) if event.event else event.data for event in events]
        await self._pass_on(self.reply.take(data, self.call.model))

    async def _pass_on(self, added: Added) -> None:
        """Pass on what was added, the text of several chunks as one piece."""
        if added.has_tokens:
            self.deadlines.progress()
            self.span.record_first_chunk()
        if added.reasoning or added.recalls:
            await self.on_piece(ReasoningPiece(added.reasoning, added.recalls))
        if added.text:
            await self.on_piece(added.text)
        for call in added.calls:
            await self.on_piece(call)
        if added.error:
            raise added.error


class _BlockDecoder:
    """Turns blocks of a body, which may be compressed, into events."""

    def __init__(self, coding: ContentDecoder, decoder: FirstBytes) -> None:
        self._coding = coding
        self._decoder = decoder

    @property
    def is_plain(self) -> bool:
        """Whether blocks need no `decompress`; known after the first bytes."""
        return self._coding.is_plain

    def decompress(self, block: bytes) -> Iterator[bytes]:
        """Yield the pieces of the body in `block`."""
        return self._coding.decode(block)

    @property
    def stream(self) -> SSEDecoder | None:
        """The decoder of an event stream that is not compressed; None for other bodies."""
        return self._decoder.stream if self._coding.is_plain else None

    def feed(self, piece: bytes) -> list[ServerEvent]:
        """Return the events that a piece of the body completes."""
        return self._decoder.feed(piece)

    def finish(self) -> list[ServerEvent]:
        """Return the events at the end of the body."""
        return [*self._decoder.feed(self._coding.finish()), *self._decoder.finish()]


class _Frames:
    """Lets a fast stream be read in frames while there is load (service/coalescing.py).

    Not before its first text, and not while its tokens are further apart than frames.
    """

    def __init__(self, body: ResponseBody | httpx.AsyncByteStream, reader: ResponseReader) -> None:
        self._window = reader.coalescing
        self._body = body if isinstance(body, ResponseBody) else None
        self._reply = reader.reply
        self._is_watched = reader.call.watched
        self._loop = asyncio.get_running_loop()
        self._last = self._loop.time()

    @property
    def may_wait(self) -> bool:
        """Whether there is load, and the stream is not read in frames already."""
        return self._window.is_active and not (self._body and self._body.is_gathering)

    async def wait(self) -> None:
        """Read in frames from now on, or wait for one, if that may bring several tokens."""
        now, last = self._loop.time(), self._last
        self._last = now
        if now - last >= FRAME_S or not self._reply.content.parts:
            return
        if self._body:
            self._body.gather(self._window, is_watched=self._is_watched)
        elif self._is_watched:
            await asyncio.sleep(FRAME_S)


async def _read_error_body(blocks: AsyncIterator[bytes], coding: ContentDecoder) -> bytes:
    """Return the body of an error response, or what arrives of it within the limits."""
    body = bytearray()
    with suppress(TimeoutError, BadStream, *TRANSPORT_ERRORS):
        async with asyncio.timeout(_ERROR_WAIT_S):
            async for block in blocks:
                for piece in coding.decode(block):
                    body += piece
                    if len(body) >= _MAX_ERROR_BYTES:
                        return bytes(body[:_MAX_ERROR_BYTES])
        body += coding.finish()
    return bytes(body[:_MAX_ERROR_BYTES])
