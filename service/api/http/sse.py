"""A run's log as a response body: the one async generator of the request path."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from quart import Response, jsonify

from service.api.http.degraded import HEADER
from service.events import Event
from service.runs.log import Silence
from service.runs.projections.summary import summarize
from service.runs.run import Run
from service.runs.runs import Runs
from service.store.records import StoredRun

# Writes event number `seq` as the face has it; "" for one that the face does not show.
Encode = Callable[[int, Event], str]


@dataclass(frozen=True, slots=True)
class Form:
    """What a stream is apart from its events. `keep_alive` is sent in silence, b"" for nothing."""

    content_type: str
    keep_alive: bytes


EVENT_STREAM = Form("text/event-stream", b": keep-alive\n\n")
_BLOCK_BYTES = 65_536
HEADERS = {
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",
    # Model output must not pass for a page. Chromium also holds text back to look at its kind.
    "X-Content-Type-Options": "nosniff",
}


def stream(
    runs: Runs, run: Run, encode: Encode, after: int = 0, form: Form = EVENT_STREAM
) -> Response:
    """Return the response that follows `run` from behind event `after` to its end."""
    response = Response(
        _body(runs, run, encode, after, form),
        headers={**HEADERS, **run_headers(run), **_degraded_header(run)},
        content_type=form.content_type,
    )
    response.timeout = None  # Quart would cut the body after 60 s
    return response


def run_headers(run: Run | StoredRun) -> dict[str, str]:
    """Return the headers of every response that belongs to a run."""
    return {"X-Run-Id": run.id, "X-Conversation-Id": run.conversation_id}


def run_json(run: Run | StoredRun, shown: Mapping[str, Any]) -> Response:
    """Return a JSON response that belongs to a run."""
    response = jsonify(shown)
    response.headers.update({**run_headers(run), **_degraded_header(run)})
    return response


def _degraded_header(run: Run | StoredRun) -> dict[str, str]:
    """Return the header of an answer that is already known to be degraded."""
    known = summarize(run.log.after(0)) if isinstance(run, Run) else run
    return {HEADER: "true"} if known.degraded_by else {}


async def _body(
    runs: Runs, run: Run, encode: Encode, after: int, form: Form
) -> AsyncGenerator[bytes, None]:
    with runs.reading(run, after) as reader:
        while True:
            seq = reader.seq
            events = await reader.take()
            if events is Silence.END:
                return
            if events is Silence.KEEP_ALIVE:
                yield form.keep_alive
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
    if size:
        yield "".join(texts).encode()
