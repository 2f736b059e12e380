"""Face B, `POST /chat`: a conversation's turns in; the answer out, as JSON or as its text comes."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from quart import Quart, Response, request

from service.api.dependencies import ApiDependencies
from service.api.http import sse
from service.api.http.body import Body, Identifier, Text, Tokens, idempotency_key, read_body
from service.api.http.collect import collect_answer
from service.api.http.degraded import DegradedFields, degraded_fields
from service.api.http.first_output import wait_for_first_output
from service.api.http.principal import Principal, current_principal
from service.api.http.query import ChoiceParam
from service.api.http.sse import Encode
from service.api.openapi.operation import EVENTS, IDEMPOTENCY_KEY, Operation, ResponseSpec, Tag
from service.conversation import continue_or_start
from service.domain import Message, RunRequest
from service.errors import RequestError
from service.events import AnswerDelta, Event, RunFailed, RunFinished
from service.ids import new_id

_STREAM = ChoiceParam("stream", "Whether the answer comes as a stream.", ("true", "false"), "false")
# An event of which a client could think that it is one of ours.
_MISTAKABLE = re.compile(r'\[D(?=ONE\])|\{\s*"(?=error")')
_LINE_END = re.compile(r"\r\n|\r|\n")  # not splitlines: U+2028 and others end no line of a stream


class ChatTurn(Body):
    """One turn of a conversation."""

    role: Literal["user", "assistant"]
    content: Text


def _ends_with_the_user(turns: list[ChatTurn]) -> list[ChatTurn]:
    if turns[-1].role != "user":
        raise ValueError("the last must be the user's")
    return turns


Turns = Annotated[list[ChatTurn], Field(min_length=1), AfterValidator(_ends_with_the_user)]


class ChatRequest(Body):
    """What a client sends. `stream` has no meaning on a WebSocket."""

    messages: Turns
    stream: bool = False
    conversation_id: Identifier | None = None
    ensemble: Identifier | None = None
    max_tokens: Tokens | None = None

    def to_request(self, principal: Principal) -> RunRequest:
        """Return the question of `principal`."""
        return RunRequest(
            messages=tuple(Message(turn.role, turn.content) for turn in self.messages),
            message_id=new_id("msg"),
            history=continue_or_start(self.conversation_id),
            ensemble=self.ensemble or "",
            max_tokens=self.max_tokens,
            owner=principal.owner,
        )


class ChatAnswer(DegradedFields):
    """The complete answer."""

    response: str


def install(app: Quart, api: ApiDependencies) -> None:
    """Add `POST /chat` to `app`; its WebSocket is in `websocket.py`."""
    runs = api.runs

    @app.post("/chat")
    @Operation(
        "Ask with the turns of a conversation",
        tag=Tag.CHAT,
        description="SSE when `stream` is true, in the body or the query, or Accept asks for it.",
        body=ChatRequest,
        example={"messages": [{"role": "user", "content": "Explain tides"}]},
        parameters=(_STREAM, IDEMPOTENCY_KEY),
        answers=(
            ResponseSpec("The answer.", ChatAnswer, of_run=True),
            ResponseSpec(
                'Its text as it comes, then `[DONE]`; or `{"error": …}` when it failed midway.',
                str,
                media=EVENTS,
                of_run=True,
            ),
        ),
        errors=(409, 502, 504),
    )
    async def chat() -> Response:
        asked_for = _STREAM.read() == "true" or _accepts_events()
        body = await read_body(ChatRequest)
        run = await runs.start(
            body.to_request(current_principal()), idempotency_key(body, "stream")
        )
        if body.stream or asked_for:
            await wait_for_first_output(runs, run)
            return sse.stream(runs, run, as_text())
        whole = await collect_answer(runs, run)
        return sse.run_json(run, {"response": whole.answer, **degraded_fields(whole)})

    @app.get("/chat")
    @Operation(
        "Open the WebSocket",
        tag=Tag.CHAT,
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
    r"""Return what writes an answer's text as server-sent events, and `[DONE]` after a whole one.

    A line end, which an event cannot hold, becomes the end of a `data:` line; `\r\n` is one, also
    when its halves come in two events.
    """
    after_return = False

    def encode(_seq: int, event: Event) -> str:
        nonlocal after_return
        if isinstance(event, AnswerDelta):
            text = event.text.removeprefix("\n") if after_return else event.text
            after_return = event.text.endswith("\r") if event.text else after_return
            return "".join(map(_event, _pieces(text)))
        if isinstance(event, RunFinished):
            return "data: [DONE]\n\n"
        if isinstance(event, RunFailed):
            return _event(json.dumps({"error": event.message}))
        return ""

    return encode


def _pieces(text: str) -> list[str]:
    """Cut `text` where it would read like an event of ours."""
    cuts = [0, *(found.end() for found in _MISTAKABLE.finditer(text)), len(text)]
    return [text[a:b] for a, b in pairwise(cuts) if a < b]


def _event(data: str) -> str:
    # The one space is dropped by who reads, so that a space the text begins with survives.
    return "".join(f"data: {line}\n" for line in _LINE_END.split(data)) + "\n"


def _accepts_events() -> bool:
    """Whether Accept names event streams, and does not like JSON better."""
    named = {kind.partition(";")[0].lower(): quality for kind, quality in request.accept_mimetypes}
    wanted = named.get(EVENTS, 0)
    return bool(wanted) and wanted >= named.get("application/json", 0)


_SOCKET = """\
Send what `POST /chat` takes. There come `{"token": "…"}` for each piece of the answer, and then
`{"done": "true"}`, or `{"error": "…"}`. More may be sent on the same socket, also before the end;
`{"type": "cancel"}` stops the current answer.
"""
