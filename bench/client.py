"""A client with little CPU cost, since the load generator shares a core with the mock.

Each request has its own connection; responses are read as bytes and timed at arrival. The tokens
of an answer are the words of its deltas: a token of the mock is a word with the space before it.
"""

from __future__ import annotations

import asyncio
import re
from array import array
from dataclasses import dataclass, field
from time import perf_counter

from bench.processes import BenchError

Address = tuple[str, int]

_RUN_S = 90.0


@dataclass(frozen=True, slots=True)
class TokenFormat:
    """The events of an API with tokens: what they contain, and a pattern of their text."""

    marker: bytes
    text: re.Pattern[bytes]


PROCESS = TokenFormat(b'"answer.delta"', re.compile(rb'"message": ?"((?:[^"\\]|\\.)*)"'))
CHAT = TokenFormat(b'"content"', re.compile(rb'"content": ?"((?:[^"\\]|\\.)*)"'))


@dataclass(slots=True)
class Tally:
    """Counts of the tokens read in one window; `gaps` are seconds between an answer's tokens.

    The first of several tokens in one read has the gap since the previous read; the others have no
    gap and are counted in `without_gap`.
    """

    tokens: int = 0
    gaps: array[float] = field(default_factory=lambda: array("d"))
    without_gap: int = 0


class TimedRequest(asyncio.Protocol):
    """One request and its response; times in `perf_counter` seconds, 0 if it did not happen."""

    def __init__(
        self, request: bytes, tally: Tally | None = None, form: TokenFormat = PROCESS
    ) -> None:
        self.tally = tally
        self._form = form
        self.sent = self.replied = self.first_token = self.last_token = self.ended = 0.0
        self.tokens = 0
        self.last_event = b""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._request = request
        self._transport: asyncio.Transport | None = None
        self._head = b""
        self._rest = b""

    @property
    def rest(self) -> bytes:
        """The bytes after the last event: for a JSON response, the complete response."""
        return self._rest

    # uvloop's transports are not subclasses of asyncio.Transport.
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        self.sent = perf_counter()
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now = perf_counter()
        if not self._head:
            self.replied = now
            self._head = data[:64]
        if self._rest:
            data = self._rest + data
        end = data.rfind(b"\n\n") + 2
        if end < 2:
            self._rest = data
            return
        self._rest = data[end:]
        tokens = 0
        for event in data[:end].split(b"\n\n"):
            if self._form.marker in event:
                tokens += _count_words(event, self._form.text)
            elif b'"final"' in event:
                self.last_event = event
                self.ended = now
        if tokens:
            self._record_tokens(tokens, now)

    def _record_tokens(self, tokens: int, now: float) -> None:
        tally = self.tally
        if not self.tokens:
            self.first_token = now
        elif tally is not None:
            tally.gaps.append(now - self.last_token)
        if tally is not None:
            tally.tokens += tokens
            tally.without_gap += tokens - 1
        self.tokens += tokens
        self.last_token = now

    def connection_lost(self, exc: Exception | None) -> None:  # name defined by asyncio
        self.ended = self.ended or perf_counter()
        if not self.done.done():
            self.done.set_result(None)

    @property
    def status(self) -> int:
        """The response's HTTP status; 0 without a response."""
        found = re.match(rb"HTTP/1\.1 (\d{3})", self._head)
        return int(found[1]) if found else 0

    def abort(self) -> None:
        """Drop the connection."""
        if self._transport is not None:
            self._transport.abort()


async def connect(address: Address, request: TimedRequest) -> TimedRequest:
    """Connect and send the request. Raises BenchError when the connection fails."""
    loop = asyncio.get_running_loop()
    try:
        await loop.create_connection(lambda: request, *address)
    except OSError as error:
        raise BenchError(f"No connection to port {address[1]}: {error}.") from error
    return request


async def perform(address: Address, request: TimedRequest, expected_tokens: int) -> TimedRequest:
    """Send the request and wait for the end of its response.

    Raises BenchError unless the response has status 200 and exactly `expected_tokens`.
    """
    await connect(address, request)
    try:
        async with asyncio.timeout(_RUN_S):
            await request.done
    except TimeoutError:
        raise BenchError(f"A response had not ended after {_RUN_S:g} s.") from None
    finally:
        request.abort()
    if request.status != 200:
        raise BenchError(f"A response had the status {request.status}.")
    if request.tokens != expected_tokens:
        last = request.last_event.decode(errors="replace") or "The connection broke off."
        raise BenchError(f"{request.tokens} tokens instead of {expected_tokens} came. {last}")
    return request


def _count_words(event: bytes, pattern: re.Pattern[bytes]) -> int:
    text = pattern.search(event)
    return len(text[1].split()) if text else 0
