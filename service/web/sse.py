"""A run's log as a response body: the one async generator of the request path."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator, Sequence

from quart import Response

from service.events import Event
from service.runs.log import Silence
from service.runs.run import Run
from service.runs.runs import Runs

Encode = Callable[[int, Event], str]

KEEP_ALIVE = b": keep-alive\n\n"
_BLOCK_BYTES = 65_536
HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


def stream(runs: Runs, run: Run, encode: Encode, after: int = 0) -> Response:
    """Return the response that follows `run` from behind event `after` to its end."""
    response = Response(
        _body(runs, run, encode, after),
        headers={**HEADERS, **run_headers(run)},
        content_type="text/event-stream",
    )
    response.timeout = None  # Quart would cut the body after 60 s
    return response


def run_headers(run: Run) -> dict[str, str]:
    """Return the headers of every response that belongs to a run."""
    return {"X-Run-Id": run.id, "X-Conversation-Id": run.ask.conversation_id}


async def _body(runs: Runs, run: Run, encode: Encode, after: int) -> AsyncGenerator[bytes, None]:
    with runs.reading(run, after) as reader:
        while True:
            seq = reader.seq
            events = await reader.take()
            if events is Silence.END:
                return
            if events is Silence.KEEP_ALIVE:
                yield KEEP_ALIVE
                continue
            for block in _blocks(encode, seq, events):
                yield block


def _blocks(encode: Encode, seq: int, events: Sequence[Event]) -> Iterator[bytes]:
    """Write what follows event `seq`, a bounded piece at a time.

    In one piece, a long replay would be a single send, whose deadline a client that reads
    slowly but steadily would miss.
    """
    texts: list[str] = []
    size = 0
    for number, event in enumerate(events, seq + 1):
        text = encode(number, event)
        texts.append(text)
        size += len(text)
        if size >= _BLOCK_BYTES:
            yield "".join(texts).encode()
            texts, size = [], 0
    if texts:
        yield "".join(texts).encode()
