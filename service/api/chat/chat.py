"""`POST /chat`: the messages of a chat in; the answer out, as JSON or as server-sent events."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from quart import Quart, Response, request

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
from service.api.http.collect import collect_answer
from service.api.http.degraded import AnswerMarks, answer_marks
from service.api.http.first_output import wait_for_first_output
from service.api.http.frames import DONE, encode_lines
from service.api.http.principal import current_principal
from service.api.http.query import ChoiceParam
from service.api.http.sse import Encode
from service.api.limits.requests import start_run
from service.api.openapi.operation import EVENTS, IDEMPOTENCY_KEY, Operation, ResponseSpec, Tag
from service.conversation import continue_or_start
from service.domain import Message, RunRequest
from service.errors import RequestError
from service.events import AnswerDelta, Event, RunFailed, RunFinished
from service.ids import new_id

_STREAM = ChoiceParam("stream", "Whether the answer is streamed.", ("true", "false"), "false")
# Answer text that a client could mistake for `[DONE]` or an error event.
_MISTAKABLE = re.compile(r'\[D(?=ONE\])|\{\s*"(?=error")')


class ChatTurn(Body):
    """One message of the chat."""

    role: Literal["user", "assistant"]
    content: Text


def _ends_with_the_user(turns: list[ChatTurn]) -> list[ChatTurn]:
    if turns[-1].role != "user":
        raise ValueError("the last message must be the user's")
    return turns


Turns = Annotated[list[ChatTurn], Field(min_length=1), AfterValidator(_ends_with_the_user)]


class ChatRequest(Body):
    """The messages of a chat, the last from the user. `stream` is ignored on a WebSocket."""

    messages: Turns
    stream: bool = False
    conversation_id: Identifier | None = None
    ensemble: EnsembleName | None = None
    max_tokens: Tokens | None = None

    def to_request(self, principal: Principal) -> RunRequest:
        """Return the question of `principal`."""
        return RunRequest(
            messages=tuple(Message(turn.role, turn.content) for turn in self.messages),
            message_id=new_id("msg"),
            history=continue_or_start(self.conversation_id),
            ensemble=self.ensemble or "",
            max_tokens=self.max_tokens,
            principal=principal,
        )


class ChatAnswer(AnswerMarks):
    """The complete answer."""

    response: str


def install(app: Quart, api: ApiDependencies) -> None:
    """Add `POST /chat` to `app`; its WebSocket is in `websocket.py`."""
    runs = api.runs

    @app.post("/chat")
    @Operation(
        "Ask with the messages of a chat",
        tag=Tag.CHAT,
        scope="run",
        description="Streams when body or query have `stream: true`, or `Accept` names SSE.",
        body=ChatRequest,
        example={"messages": [{"role": "user", "content": "Explain tides"}]},
        parameters=(_STREAM, IDEMPOTENCY_KEY),
        answers=(
            ResponseSpec("The answer.", ChatAnswer, of_run=True),
            ResponseSpec(
                'The answer\'s text, then `[DONE]`; or `{"error": …}` after a failure midway.',
                str,
                media=EVENTS,
                of_run=True,
            ),
        ),
        errors=(409, 502, 504),
        use="run",
    )
    async def chat() -> Response:
        asked_for = _STREAM.read() == "true" or _accepts_events()
        body = await read_body(ChatRequest)
        run = await start_run(
            runs, body.to_request(current_principal()), idempotency_key(body, "stream")
        )
        if body.stream or asked_for:
            await wait_for_first_output(runs, run)
            return sse.stream(runs, run, as_text())
        whole = await collect_answer(runs, run)
        return sse.run_json(
            run,
            {
                "response": whole.answer,
                **answer_marks(whole),
            },
        )

    @app.get("/chat")
    @Operation(
        "Open a WebSocket for a chat",
        tag=Tag.CHAT,
        scope="run",
        description=_SOCKET,
        answers=(),
        errors=(403, 426, 503),
    )
    async def not_upgraded() -> Response:
        is_http_1 = request.http_version.startswith("1")  # HTTP/2 forbids these headers
        raise RequestError(
            "upgrade_required",
            "Open a WebSocket at this address, or send the messages with POST.",
            headers={"Upgrade": "websocket", "Connection": "Upgrade"} if is_http_1 else {},
        )


def as_text() -> Encode:
    r"""Return an encoder that writes the answer's text as server-sent events, then `[DONE]`.

    A line end, which an event cannot contain, becomes the end of a `data:` line; `\r\n` is one
    line end, also when it is split across two deltas.
    """
    after_return = False

    def encode(_seq: int, event: Event) -> str:
        nonlocal after_return
        if isinstance(event, AnswerDelta):
            text = event.text.removeprefix("\n") if after_return else event.text
            after_return = event.text.endswith("\r") if event.text else after_return
            return "".join(map(encode_lines, _pieces(text)))
        if isinstance(event, RunFinished):
            return DONE
        if isinstance(event, RunFailed):
            return encode_lines(json.dumps({"error": event.message}, ensure_ascii=False))
        return ""

    return encode


def _pieces(text: str) -> list[str]:
    """Split `text` where it could be mistaken for another event."""
    cuts = [0, *(found.end() for found in _MISTAKABLE.finditer(text)), len(text)]
    return [text[a:b] for a, b in pairwise(cuts) if a < b]


def _accepts_events() -> bool:
    """Return whether `Accept` names event streams and does not prefer JSON."""
    accepted = {
        media.partition(";")[0].lower(): quality for media, quality in request.accept_mimetypes
    }
    quality = accepted.get(EVENTS, 0)
    return bool(quality) and quality >= accepted.get("application/json", 0)


_SOCKET = """\
Send the JSON of `POST /chat`. The service sends `{"token": "…"}` for each part of the answer, then
`{"done": "true"}`, or `{"error": "…"}`. Further requests may follow on the same socket, also before
the end of the current answer; `{"type": "cancel"}` stops it.
"""
