"""A lean model server for load: chat completions with an exact pace, at little CPU per token.

Runs as its own process, `python -m bench.upstream`. The name of the model states the answer, as
`MockAnswer` writes it. It has none of the mock's checks, faults and counters, so that three streams
of a run use less CPU than the service under test. Tokens that are due at the same time share a
write: a busy machine does not slow the pace.
"""

from __future__ import annotations

import asyncio
import signal
from functools import cache
from urllib.parse import parse_qsl

import msgspec
import uvloop

from service.server.sockets import base_url, listen, raise_open_file_limit

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\n%b\r\n\r\n"
_NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
_PATH = b"POST /v1/chat/completions "
_FRAME = {"id": "chatcmpl-bench", "created": 1_700_000_000, "model": "bench"}


class _Body(msgspec.Struct):
    model: str
    stream: bool = False


class _Answer(msgspec.Struct, frozen=True):
    """The prepared parts of an answer; times in seconds."""

    chunks: tuple[bytes, ...]
    end: bytes
    whole: bytes
    first_s: float
    gap_s: float

    @property
    def total_s(self) -> float:
        return self.first_s + (len(self.chunks) - 1) * self.gap_s


@cache
def _prepare(model: str) -> _Answer:
    """Return the answer that the name of a model states, such as mock?tokens=9&gap_ms=5."""
    pace = {name: float(value) for name, value in parse_qsl(model.partition("?")[2])}
    count = int(pace.get("tokens", 1))
    tokens = [f" token{number}" for number in range(count)]
    usage = {"prompt_tokens": 10, "completion_tokens": count, "total_tokens": 10 + count}
    chunks = tuple(_make_chunk({"content": token}) for token in tokens)
    end = _make_chunk({}, "stop") + _frame({"choices": [], "usage": usage})
    message = {"role": "assistant", "content": "".join(tokens)}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    document = {**_FRAME, "object": "chat.completion", "choices": [choice], "usage": usage}
    body = msgspec.json.encode(document)
    head = _HEAD % (b"application/json", b"Content-Length: %d" % len(body))
    return _Answer(
        (_HEAD % (b"text/event-stream", b"Transfer-Encoding: chunked") + chunks[0], *chunks[1:]),
        end + _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n",
        head + body,
        pace.get("first_ms", 0) / 1000,
        pace.get("gap_ms", 0) / 1000,
    )


def _make_chunk(delta: dict[str, str], finish_reason: str | None = None) -> bytes:
    return _frame({"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]})


def _frame(more: dict[str, object]) -> bytes:
    event = msgspec.json.encode({**_FRAME, "object": "chat.completion.chunk", **more})
    return _chunk(b"data: %b\n\n" % event)


def _chunk(data: bytes) -> bytes:
    """Return the data as a chunk of a body with chunked transfer coding."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class _Connection(asyncio.Protocol):
    """One client, which sends a request after the end of the previous answer."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._received = b""
        self._answer: _Answer
        self._started = 0.0
        self._sent = 0
        self._timer: asyncio.TimerHandle | None = None
        self._is_paused = False

    # uvloop's transports are not subclasses of asyncio.Transport.
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:  # name defined by asyncio
        self._stop()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, rest = self._received.partition(b"\r\n\r\n")
        if not separator:
            return
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
        if len(rest) < length:
            return
        self._received = rest[length:]
        if not head.startswith(_PATH):
            self._transport.write(_NOT_FOUND)
            return
        self._start(msgspec.json.decode(rest[:length], type=_Body))

    def _start(self, body: _Body) -> None:
        self._answer = answer = _prepare(body.model)
        self._started = self._loop.time() + answer.first_s
        self._sent = 0
        if body.stream:
            self._timer = self._loop.call_later(answer.first_s, self._send_due)
        else:
            self._timer = self._loop.call_later(answer.total_s, self._transport.write, answer.whole)

    def _send_due(self) -> None:
        """Send all tokens that are due, and schedule the next one."""
        answer = self._answer
        count = len(answer.chunks)
        elapsed_s = self._loop.time() - self._started
        # The loop's clock has milliseconds: half of one against rounding.
        due = int((elapsed_s + 0.0005) / answer.gap_s) + 1 if answer.gap_s else count
        due = min(max(due, self._sent), count)
        if due > self._sent:
            self._transport.write(b"".join(answer.chunks[self._sent : due]))
            self._sent = due
        if due == count:
            self._transport.write(answer.end)
            self._stop()
        elif not self._is_paused:
            next_at = self._started + due * answer.gap_s
            self._timer = self._loop.call_at(next_at, self._send_due)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def pause_writing(self) -> None:
        self._is_paused = True
        self._stop()

    def resume_writing(self) -> None:
        self._is_paused = False
        if self._sent < len(self._answer.chunks):
            self._send_due()


async def _serve() -> None:
    raise_open_file_limit()
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    sock = listen("127.0.0.1", 0)
    server = await loop.create_server(_Connection, sock=sock, backlog=4096)
    print(f"The upstream is at {base_url(sock)}", flush=True)
    await stop.wait()
    server.close()


if __name__ == "__main__":
    uvloop.run(_serve())
