"""`POST /stream`: the answer's text, as plain text or as OpenAI's chunks."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from quart import Quart, Response

from service.access.principal import Principal
from service.api.dependencies import ApiDependencies
from service.api.http import sse
from service.api.http.body import (
    Body,
    EnsembleName,
    Identifier,
    Text,
    Tokens,
    idempotency_key,
    read_body,
)
from service.api.http.first_output import wait_for_first_output
from service.api.http.frames import DONE, encode_event
from service.api.http.principal import current_principal
from service.api.http.query import ChoiceParam
from service.api.http.sse import Encode, StreamFormat
from service.api.limits.requests import start_run
from service.api.openai.chunks import Chunks, make_encoder
from service.api.openai.schemas import ChunkShown
from service.api.openapi.components import OpenAIProblem
from service.api.openapi.operation import (
    EVENTS,
    IDEMPOTENCY_KEY,
    LINES,
    Operation,
    ResponseSpec,
    Tag,
)
from service.conversation import continue_or_start
from service.domain import Message, RunRequest
from service.events import AnswerDelta, Event, RunFailed
from service.ids import new_id
from service.runs.run import Run


class StreamRequest(Body):
    """A question."""

    prompt: Text
    conversation_id: Identifier | None = None
    ensemble: EnsembleName | None = None
    max_tokens: Tokens | None = None

    def to_request(self, principal: Principal) -> RunRequest:
        """Return the question of `principal`."""
        return RunRequest(
            messages=(Message("user", self.prompt),),
            message_id=new_id("msg"),
            history=continue_or_start(self.conversation_id),
            ensemble=self.ensemble or "",
            max_tokens=self.max_tokens,
            principal=principal,
        )


def install(app: Quart, api: ApiDependencies) -> None:
    """Add `/stream` to `app`."""
    runs = api.runs

    @app.post("/stream")
    @Operation(
        "Ask a question and stream the answer's text",
        tag=Tag.ASK,
        scope="run",
        body=StreamRequest,
        example={"prompt": "Explain gravity like I am 5"},
        parameters=(_FORMAT, IDEMPOTENCY_KEY),
        answers=_ANSWERS,
        errors=(409, 502, 504),
        use="run",
    )
    async def stream() -> Response:
        write = _FORMATS[_FORMAT.read()]
        body = await read_body(StreamRequest)
        run = await start_run(runs, body.to_request(current_principal()), idempotency_key(body))
        await wait_for_first_output(runs, run)
        encode, form = write(run)
        return sse.stream(runs, run, encode, form=form)


def as_text(_run: Run) -> tuple[Encode, StreamFormat]:
    """Return the plain-text format: no keep-alive; a failure is the last line."""

    def encode(_seq: int, event: Event) -> str:
        if isinstance(event, AnswerDelta):
            return event.text
        if isinstance(event, RunFailed):
            return f"\n\n[error: {' '.join(event.message.split())}]\n"
        return ""

    return encode, StreamFormat("text/plain; charset=utf-8", b"")


def as_lines(run: Run) -> tuple[Encode, StreamFormat]:
    """Return the format with one JSON chunk per line, also as keep-alive."""
    keep_alive = f"{Chunks(run).encode_keep_alive()}\n".encode()
    return make_encoder(run, lambda data: f"{data}\n"), StreamFormat(LINES, keep_alive)


def as_events(run: Run) -> tuple[Encode, StreamFormat]:
    """Return the format with a chunk per server-sent event, and `[DONE]` at the end."""
    return make_encoder(run, encode_event, DONE), sse.EVENT_STREAM


_FORMATS: Mapping[str, Callable[[Run], tuple[Encode, StreamFormat]]] = {
    "text": as_text,
    "openai": as_lines,
    "sse": as_events,
}
_FORMAT = ChoiceParam("stream_format", "The format of the stream.", tuple(_FORMATS), "text")
_ANSWERS = (
    ResponseSpec("`text`: only the answer's text.", str, media="text/plain", of_run=True),
    ResponseSpec(
        "`openai`: one JSON chunk per line.", ChunkShown | OpenAIProblem, media=LINES, of_run=True
    ),
    ResponseSpec(
        "`sse`: one chunk per event, then `[DONE]`.",
        ChunkShown | OpenAIProblem,
        media=EVENTS,
        of_run=True,
        closing="[DONE]",
    ),
)
