"""A client cheap enough to load the service from the core that the mock needs as well.

One connection and one request each, read as bytes and timed where they arrive. An answer's tokens
are the words of its deltas: the mock's token is a word with the space before it.
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
_MESSAGE = re.compile(rb'"message": ?"((?:[^"\\]|\\.)*)"')


@dataclass(slots=True)
class Tally:
    """What was read while it was in force. Gaps are seconds between an answer's tokens.

    Of several tokens in one read the first has the time since the read before, the others none:
    these are counted, not listed.
    """

    tokens: int = 0
    gaps: array[float] = field(default_factory=lambda: array("d"))
    without_gap: int = 0


class ServerRequest(asyncio.Protocol):
    """One request and its response; times in `perf_counter` seconds, 0 for what did not happen."""

    def __init__(self, request: bytes, tally: Tally | None = None) -> None:
        self.tally = tally
        self.sent = self.replied = self.first_token = self.last_token = self.ended = 0.0
        self.tokens = 0
        self.last_event = b""
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._request = request
        self._transport: asyncio.Transport | None = None
        self._head = b""
        self._rest = b""

    @property
    def rest(self) -> bytes:
        """What followed the last event: of a JSON response, all of it."""
        return self._rest

    # uvloop's transports are no subclass of asyncio's, so there is nothing to narrow.
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
            if b'"answer.delta"' in event:
                tokens += _words(event)
            elif b'"final"' in event:
                self.last_event = event
                self.ended = now
        if tokens:
            self._take(tokens, now)

    def _take(self, tokens: int, now: float) -> None:
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

    def connection_lost(self, exc: Exception | None) -> None:  # asyncio's name
        self.ended = self.ended or perf_counter()
        if not self.over.done():
            self.over.set_result(None)

    @property
    def status(self) -> int:
        """The response's status; 0 without a response."""
        found = re.match(rb"HTTP/1\.1 (\d{3})", self._head)
        return int(found[1]) if found else 0

    def abort(self) -> None:
        """Drop the connection."""
        if self._transport is not None:
            self._transport.abort()


async def connect(address: Address, exchange: ServerRequest) -> ServerRequest:
    """Send the exchange's request. Raises BenchError when nobody listens."""
    loop = asyncio.get_running_loop()
    try:
        await loop.create_connection(lambda: exchange, *address)
    except OSError as error:
        raise BenchError(f"No connection to port {address[1]}: {error}.") from error
    return exchange


async def converse(
    address: Address, exchange: ServerRequest, expected_tokens: int
) -> ServerRequest:
    """See an exchange through to its end.

    Raises BenchError unless it is answered with 200 and exactly `expected_tokens`.
    """
    await connect(address, exchange)
    try:
        async with asyncio.timeout(_RUN_S):
            await exchange.over
    except TimeoutError:
        raise BenchError(f"A response had not ended after {_RUN_S:g} s.") from None
    finally:
        exchange.abort()
    if exchange.status != 200:
        raise BenchError(f"A request was answered {exchange.status}.")
    if exchange.tokens != expected_tokens:
        last = exchange.last_event.decode(errors="replace") or "The connection broke off."
        raise BenchError(f"{exchange.tokens} tokens instead of {expected_tokens} came. {last}")
    return exchange


def _words(event: bytes) -> int:
    message = _MESSAGE.search(event)
    return len(message[1].split()) if message else 0
