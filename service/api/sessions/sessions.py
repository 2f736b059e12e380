"""Face D's sessions: conversations under the names that its clients know.

`session_id` and `thread_id` are the conversation's id, `session_name` is its title.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import ConfigDict, StringConstraints
from quart import Quart, Response, jsonify, request
from typing_extensions import TypedDict

from service.api.dependencies import ApiDependencies
from service.api.history.history import written
from service.api.history.owned import OwnConversations, StoredMessage, message_json
from service.api.http.body import Body, Label, Text, read_body
from service.api.http.principal import Principal, current_principal
from service.api.http.query import OFFSET, IntParam, TextParam, refused
from service.api.openapi.operation import Operation, ResponseSpec, Tag
from service.errors import RequestError
from service.ids import new_id
from service.store.records import Conversation

Name = Annotated[Text, StringConstraints(max_length=200)]

_LIMIT = IntParam("limit", "How many at most.", 100, 1, 1000)
_NAME = TextParam("name", "The name, for those who send no body.", 200, required=False)
_USER_CHARS = 256  # as `requests.Label`


class NewSession(Body):
    """What a client sends to begin a session. `name` is another word for `session_name`."""

    user_id: Label | None = None
    session_name: Name | None = None
    name: Name | None = None


def _without_defaults(schema: dict[str, Any]) -> None:
    for each in schema["properties"].values():
        del each["default"]  # which is not to be sent


class Naming(Body):
    """What a client sends to rename a session, under one name or the other."""

    model_config = ConfigDict(json_schema_extra=_without_defaults)

    name: Name = ""
    session_name: Name = ""


class SessionIds(TypedDict):
    """Which session: two names for one id."""

    session_id: str
    thread_id: str


class SessionShown(SessionIds):
    """A session. Without a name it gets that of its first question."""

    user_id: str
    session_name: str
    created_at: str
    updated_at: str


class SessionList(TypedDict):
    """Some of a user's sessions, the latest changed first."""

    sessions: list[SessionShown]


class SessionHistory(TypedDict):
    """What was said in a session; a question without an answer has none behind it."""

    session_id: str
    messages: list[StoredMessage]


class SessionDeleted(TypedDict):
    """A session that is gone."""

    session_id: str
    deleted: bool


def install(app: Quart, api: ApiDependencies) -> None:
    """Add `/conversation/session…` to `app`."""
    own = OwnConversations(api.runs, api.store.conversations)

    @app.post("/conversation/session")
    @Operation(
        "Begin a session",
        tag=Tag.SESSIONS,
        body=NewSession,
        body_may_be_absent=True,
        example={"user_id": "user_1", "session_name": "Tides"},
        answers=(ResponseSpec("The session.", SessionShown),),
    )
    async def create_session() -> Response:
        principal = current_principal()
        body = await read_body(NewSession) if await request.get_data() else NewSession()
        title = body.session_name or body.name or ""
        now = datetime.now(UTC)
        made = await own.kept.create(principal.owner, new_id("conv"), title, body.user_id, now)
        return jsonify(_shown(made, principal))

    @app.get("/conversation/session/<session_id>")
    @Operation("A session", tag=Tag.SESSIONS, answers=(ResponseSpec("It.", SessionShown),))
    async def show_session(session_id: str) -> Response:
        principal = current_principal()
        return jsonify(_shown(await own.find(principal, session_id), principal))

    @app.patch("/conversation/session/<session_id>")
    @Operation(
        "Rename it",
        tag=Tag.SESSIONS,
        body=Naming,
        body_may_be_absent=True,
        example={"name": "About tides"},
        parameters=(_NAME,),
        answers=(ResponseSpec("The session.", SessionShown),),
    )
    async def rename_session(session_id: str) -> Response:
        principal = current_principal()
        name = await _wanted_name()
        await own.find(principal, session_id)
        await own.kept.rename(principal.owner, session_id, name, datetime.now(UTC))
        return jsonify(_shown(await own.find(principal, session_id), principal))

    @app.delete("/conversation/session/<session_id>")
    @Operation(
        "Delete it, and all that was said in it",
        tag=Tag.SESSIONS,
        answers=(ResponseSpec("It is gone.", SessionDeleted),),
    )
    async def delete_session(session_id: str) -> Response:
        await own.delete(current_principal(), session_id)
        return jsonify({"session_id": session_id, "deleted": True})

    @app.get("/conversation/session/<session_id>/history")
    @Operation(
        "What was said in it", tag=Tag.SESSIONS, answers=(ResponseSpec("It.", SessionHistory),)
    )
    async def session_history(session_id: str) -> Response:
        principal = current_principal()
        await own.find(principal, session_id)
        messages = [message_json(turn) for turn in await own.turns(principal, session_id)]
        return jsonify({"session_id": session_id, "messages": messages})

    @app.get("/conversation/sessions/user/<path:user_id>")
    @Operation(
        "A user's sessions, the latest changed first",
        tag=Tag.SESSIONS,
        parameters=(_LIMIT, OFFSET),
        answers=(ResponseSpec("Some of them.", SessionList),),
    )
    async def sessions_of_user(user_id: str) -> Response:
        principal = current_principal()
        limit, offset = _LIMIT.read(), OFFSET.read()
        users = _labels(user_id, principal)
        found = await own.kept.list_for_users(principal.owner, users, limit, offset)
        return jsonify({"sessions": [_shown(each, principal) for each in found]})


def user_of(conversation: Conversation, principal: Principal) -> str:
    """Return whose session a conversation is: the owner's own unless a user was named."""
    return conversation.user_id or principal.owner


def session_ids(conversation_id: str) -> SessionIds:
    """Return the names that a conversation's id has here."""
    return {"session_id": conversation_id, "thread_id": conversation_id}


def _shown(conversation: Conversation, principal: Principal) -> SessionShown:
    return {
        **session_ids(conversation.id),
        "user_id": user_of(conversation, principal),
        "session_name": conversation.title,
        "created_at": written(conversation.created_at),
        "updated_at": written(conversation.updated_at),
    }


async def _wanted_name() -> str:
    queried = _NAME.given()
    body = await read_body(Naming) if await request.get_data() else Naming()
    name = body.name or body.session_name or queried
    if name is None:
        raise refused("name", "this field is required")
    return name


def _labels(user_id: str, principal: Principal) -> list[str | None]:
    """Return what marks the sessions of a user; the owner's own are also those without a mark.

    Raises RequestError 404 for what cannot be a user's id.
    """
    if not user_id.strip() or "\0" in user_id or len(user_id) > _USER_CHARS:
        raise RequestError("not_found", "There is nothing at this address.")
    return [user_id, None] if user_id == principal.owner else [user_id]
