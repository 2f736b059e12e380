"""Face C, `POST /stream`: the answer's text alone, as plain text or as OpenAI's chunks."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Annotated, Literal, NotRequired

from pydantic import Field
from quart import Quart, Response
from typing_extensions import TypedDict

from service.domain import Ask, Message
from service.events import AnswerDelta, Event, RunFailed, RunFinished, RunStarted
from service.ids import new_id
from service.runs.record import record
from service.runs.run import Run
from service.runs.runs import Runs
from service.web import sse
from service.web.describe import EVENTS, IDEMPOTENCY_KEY, LINES, Answer, Operation, Tag
from service.web.lead import first_word
from service.web.openai_chunks import Chunks, error_object
from service.web.query import OneOf
from service.web.requests import Body, Identifier, Text, idempotency_key, owner, read_body
from service.web.sse import Encode, Form


class StreamRequest(Body):
    """What a client sends."""

    prompt: Text
    conversation_id: Identifier | None = None
    ensemble: Identifier | None = None
    max_tokens: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    timeout_s: Annotated[float, Field(gt=0, le=86_400)] | None = None

    def to_ask(self) -> Ask:
        return Ask(
            messages=(Message("user", self.prompt),),
            message_id=new_id("msg"),
            conversation_id=self.conversation_id or new_id("conv"),
            ensemble=self.ensemble or "",
            max_tokens=self.max_tokens,
            timeout_s=self.timeout_s,
            owner=owner(),
            continues=self.conversation_id is not None,
        )


class DeltaShown(TypedDict):
    """What a chunk adds to the message."""

    role: NotRequired[Literal["assistant"]]
    content: NotRequired[str]


class ChunkChoice(TypedDict):
    """The one answer that a chunk belongs to."""

    index: int
    delta: DeltaShown
    finish_reason: Literal["stop", "length"] | None


class ChunkShown(TypedDict):
    """OpenAI's `chat.completion.chunk`."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChunkChoice]


def install(app: Quart, runs: Runs) -> None:
    """Add the face to `app`."""

    @app.post("/stream")
    @Operation(
        "Ask, and read the answer's text alone",
        tag=Tag.ASK,
        body=StreamRequest,
        example={"prompt": "Explain gravity like I am 5"},
        parameters=(_FORMAT, IDEMPOTENCY_KEY),
        answers=_ANSWERS,
        errors=(409, 502, 504),
    )
    async def stream() -> Response:
        write = _FORMATS[_FORMAT.read()]
        body = await read_body(StreamRequest)
        run = await runs.start(body.to_ask(), idempotency_key(body))
        await first_word(run)
        encode, form = write(run)
        return sse.stream(runs, run, encode, form=form)


def as_text(_run: Run) -> tuple[Encode, Form]:
    """Write the text as it is. Nothing can be said in silence; a failure is a last line."""

    def encode(_seq: int, event: Event) -> str:
        if isinstance(event, AnswerDelta):
            return event.text
        if isinstance(event, RunFailed):
            return f"\n\n[error: {' '.join(event.message.split())}]\n"
        return ""

    return encode, Form("text/plain; charset=utf-8", b"")


def as_lines(run: Run) -> tuple[Encode, Form]:
    """Write a chunk a line: each is JSON, in silence too."""
    chunks = Chunks(run)
    keep_alive = f"{chunks.silence()}\n".encode()
    encode = _framed(run, chunks, lambda data: f"{data}\n", "")
    return encode, Form("application/x-ndjson", keep_alive)


def as_events(run: Run) -> tuple[Encode, Form]:
    """Write the chunks as server-sent events, and `[DONE]` after the last of a whole answer."""
    encode = _framed(run, Chunks(run), lambda data: f"data: {data}\n\n", "data: [DONE]\n\n")
    return encode, sse.EVENT_STREAM


def _framed(run: Run, chunks: Chunks, frame: Callable[[str], str], closing: str) -> Encode:
    def encode(_seq: int, event: Event) -> str:
        match event:
            case AnswerDelta():
                return frame(chunks.text(event.text))
            case RunStarted():
                return frame(chunks.role())
            case RunFinished():
                return frame(chunks.end(_finish_reason(run, event))) + closing
            case RunFailed():
                return frame(json.dumps(error_object(event.message, event.code)))
            case _:
                return ""

    return encode


def _finish_reason(run: Run, end: RunFinished) -> str:
    """Return `length` when who wrote the answer was stopped by its limit, else `stop`."""
    author = record(run.log.after(0)).agents.get(end.answered_by)
    was_cut = author and author.report and author.report.finish_reason == "length"
    return "length" if was_cut else "stop"


_FORMATS: Mapping[str, Callable[[Run], tuple[Encode, Form]]] = {
    "text": as_text,
    "openai": as_lines,
    "sse": as_events,
}
_FORMAT = OneOf("stream_format", "How the text comes.", tuple(_FORMATS), "text")
_ANSWERS = (
    Answer("`text`: the answer as it comes, nothing added.", str, media="text/plain", of_run=True),
    Answer("`openai`: one chunk a line.", ChunkShown, media=LINES, of_run=True),
    Answer("`sse`: a chunk an event, then `[DONE]`.", ChunkShown, media=EVENTS, of_run=True),
)
