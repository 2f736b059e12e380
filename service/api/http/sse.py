"""Streamed responses: a run's log as a response body, the one async generator of the service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from quart import Response, has_request_context, request

from service.api.http.degraded import HEADER
from service.api.http.pieces import json_in_pieces
from service.api.limits.headers import list_token_headers
from service.api.middleware.direct_body import Write, find_body_writer
from service.events import Event
from service.runs.log import Reader, Silence
from service.runs.projections.summary import summarize
from service.runs.run import Run
from service.runs.runs import Runs
from service.store.records import StoredRun

# Returns event number `seq` in the format of an API; "" for an event that the API omits.
Encode = Callable[[int, Event], str]
# Yields the new events, which follow event `seq`, as texts of bounded size.
EncodeAll = Callable[[int, Sequence[Event]], Iterator[str]]


@dataclass(frozen=True, slots=True)
class StreamFormat:
    """The media type of a stream, and the bytes sent during a silence (b"" for none)."""

    content_type: str
    keep_alive: bytes


EVENT_STREAM = StreamFormat("text/event-stream", b": keep-alive\n\n")
_BLOCK_BYTES = 65_536
# no-transform: a compressing server in front, such as Next or Express with `compression`, would
# collect the stream in its compressor and send it at the end.
HEADERS = {
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
}


def stream(
    runs: Runs, run: Run, encode: Encode, after: int = 0, form: StreamFormat = EVENT_STREAM
) -> Response:
    """Return the response that streams the events of `run` that follow event `after`."""
    return stream_all(runs, run, partial(_blocks, encode), after, form)


def stream_all(
    runs: Runs, run: Run, encode: EncodeAll, after: int = 0, form: StreamFormat = EVENT_STREAM
) -> Response:
    """Return the same response of events that are encoded together, as they are found."""
    response = Response(
        _body(runs.reading(run, after), find_body_writer(request.scope), encode, form),
        headers={**HEADERS, **run_headers(run), **_degraded_header(run)},
        content_type=form.content_type,
    )
    response.timeout = None  # Quart would cut the body after 60 s
    return response


def run_headers(run: Run | StoredRun) -> dict[str, str]:
    """Return the headers of every response that belongs to a run."""
    headers = {"X-Run-Id": run.id, "X-Conversation-Id": run.conversation_id}
    if isinstance(run, Run) and run.budgets and _is_openai():
        headers |= list_token_headers(run.budgets, datetime.now(UTC))
    return headers


def _is_openai() -> bool:
    return has_request_context() and request.path.startswith("/v1/")  # a WebSocket has no request


def run_json(run: Run | StoredRun, shown: Mapping[str, Any]) -> Response:
    """Return a JSON response that belongs to a run."""
    response = json_in_pieces(shown)
    response.headers.update({**run_headers(run), **_degraded_header(run)})
    return response


def _degraded_header(run: Run | StoredRun) -> dict[str, str]:
    """Return the header of an answer that is already known to be degraded."""
    if isinstance(run, StoredRun):
        degraded_by = run.degraded_by
    elif run.log.finished:
        [final] = run.log.after(len(run.log) - 1)
        degraded_by = getattr(final, "degraded_by", ())
    else:
        degraded_by = summarize(run.log.after(0)).degraded_by
    return {HEADER: "true"} if degraded_by else {}


async def _body(
    reading: AbstractContextManager[Reader], write: Write, encode: EncodeAll, form: StreamFormat
) -> AsyncGenerator[bytes, None]:
    """Write the events to the connection, and yield those that it does not take at once."""
    with reading as reader:
        while True:
            events = await reader.take()
            if events is Silence.END:
                return
            if events is Silence.KEEP_ALIVE:
                yield form.keep_alive
                continue
            for number, block in enumerate(encode(reader.seq - len(events), events)):
                if number:
                    await asyncio.sleep(0)  # a client that reads fast never makes the loop wait
                part = block.encode()
                if not write(part):
                    yield part


def _blocks(encode: Encode, seq: int, events: Sequence[Event]) -> Iterator[str]:
    """Encode the events that follow event `seq` into blocks of bounded size.

    As one block, a long replay would be a single send, and a client that reads slowly but
    steadily would exceed the send timeout.
    """
    texts: list[str] = []
    size = 0
    for number, event in enumerate(events, seq + 1):
        text = encode(number, event)
        texts.append(text)
        size += len(text)
        if size >= _BLOCK_BYTES:
            yield "".join(texts)
            texts, size = [], 0
    if size:
        yield "".join(texts)
