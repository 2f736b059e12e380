"""`POST /conversation`: ask in a session; the answer as named server-sent events or as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

from quart import Quart, Response
from typing_extensions import TypedDict

from service.access.principal import Principal
from service.api.dependencies import ApiDependencies
from service.api.history.owned import OwnConversations, conversation_not_found
from service.api.http import sse
from service.api.http.body import (
    Body,
    EnsembleName,
    Identifier,
    Label,
    Text,
    Tokens,
    idempotency_key,
    read_body,
)
from service.api.http.collect import collect_answer
from service.api.http.degraded import AnswerMarks, answer_marks
from service.api.http.frames import encode_event
from service.api.http.principal import current_principal
from service.api.http.sse import Encode
from service.api.limits.requests import start_run
from service.api.openapi.operation import EVENTS, IDEMPOTENCY_KEY, Operation, ResponseSpec, Tag
from service.api.sessions.sessions import Name, SessionIds, session_ids, user_of
from service.api.sessions.user_ids import check_named, chooses_labels
from service.conversation import continue_or_start
from service.domain import Message, RunRequest
from service.events import AnswerDelta, Event, RunFailed, RunFinished, RunStarted
from service.ids import new_id
from service.runs.projections.summary import summarize
from service.runs.run import Run


class ConversationRequest(Body):
    """A question. Without `session_id` it starts a session with the name `session_name`."""

    message: Text
    session_id: Identifier | None = None
    user_id: Label | None = None
    session_name: Name | None = None
    stream: bool = True
    ensemble: EnsembleName | None = None
    max_tokens: Tokens | None = None

    def to_request(self, principal: Principal) -> RunRequest:
        """Return the question of `principal`."""
        return RunRequest(
            messages=(Message("user", self.message),),
            message_id=new_id("msg"),
            history=continue_or_start(self.session_id),
            ensemble=self.ensemble or "",
            max_tokens=self.max_tokens,
            principal=principal,
            title=self.session_name,
            user_id=self.user_id,
        )


class SessionAnswer(SessionIds, AnswerMarks):
    """A question and its complete answer."""

    user_id: str
    message: str
    response: str


class SessionBegun(SessionIds):
    """The first event, `session`."""

    user_id: str


class Chunk(TypedDict):
    """An event `message`: the next part of the answer."""

    chunk: str


class SessionDone(SessionIds, AnswerMarks):
    """The last event, `done`."""

    full_response: str


class SessionError(TypedDict):
    """The last event, `error`: a sentence for people and a code for programs."""

    error: str
    code: str


def install(app: Quart, api: ApiDependencies) -> None:
    """Add `POST /conversation` to `app`."""
    runs = api.runs
    own = OwnConversations(runs, api.store.conversations)

    @app.post("/conversation")
    @Operation(
        "Ask a question in a session",
        tag=Tag.SESSIONS,
        scope="run",
        body=ConversationRequest,
        example={"message": "Explain tides", "user_id": "user_1", "stream": False},
        parameters=(IDEMPOTENCY_KEY,),
        answers=(
            ResponseSpec(
                "Named events: `session`, `message` for each part, then `done` or `error`.",
                SessionBegun | Chunk | SessionDone | SessionError,
                media=EVENTS,
                of_run=True,
            ),
            ResponseSpec("With `stream: false`, the complete answer.", SessionAnswer, of_run=True),
        ),
        errors=(404, 409, 502, 504),
        use="run",
    )
    async def converse() -> Response:
        body = await read_body(ConversationRequest)
        principal = current_principal()
        user_id = await _user(own, principal, body)
        wanted = body.to_request(principal)
        run = await start_run(runs, wanted, idempotency_key(body, "stream"))
        if body.stream:
            return sse.stream(runs, run, named_events(run, user_id))
        answer = await collect_answer(runs, run)
        shown = {"user_id": user_id, "message": body.message, "response": answer.answer}
        ids = session_ids(run.conversation_id)
        return sse.run_json(run, {**ids, **shown, **answer_marks(answer)})


def named_events(run: Run, user_id: str) -> Encode:
    """Return an encoder for the event names of this API."""
    session = session_ids(run.conversation_id)

    def encode(_seq: int, event: Event) -> str:
        match event:
            case AnswerDelta():
                return _event("message", {"chunk": event.text})
            case RunStarted():
                return _event("session", {**session, "user_id": user_id})
            case RunFinished():
                answer = summarize(run.log.after(0)).answer
                fields = {
                    "full_response": answer,
                    **session,
                    **answer_marks(event),
                }
                return _event("done", fields)
            case RunFailed():
                return _event("error", {"error": event.message, "code": event.code})
            case _:
                return ""

    return encode


def _event(name: Literal["session", "message", "done", "error"], data: Mapping[str, Any]) -> str:
    return encode_event(json.dumps(data), name=name)


async def _user(own: OwnConversations, principal: Principal, body: ConversationRequest) -> str:
    """Return the user of the session.

    Raises RequestError 403 for a user that the caller may not name, 404 for another user's session.
    """
    check_named(principal, body.user_id)
    if body.session_id is None:
        return body.user_id or principal.owner
    session = await own.find(principal, body.session_id)
    is_other = body.user_id and session.user_id and body.user_id != session.user_id
    if is_other and chooses_labels(principal):
        raise conversation_not_found()
    return body.user_id or user_of(session, principal)
