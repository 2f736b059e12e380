"""`/conversation/session…`: conversations as sessions.

`session_id` and `thread_id` are the conversation's id, `session_name` is its title.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, NotRequired

from pydantic import ConfigDict, StringConstraints
from quart import Quart, Response, jsonify, request
from typing_extensions import TypedDict

from service.access.principal import Principal
from service.api.dependencies import ApiDependencies
from service.api.history.items import format_time
from service.api.history.owned import OwnConversations, StoredMessage
from service.api.http.body import Body, Label, Text, read_body
from service.api.http.pieces import list_parts, respond_in_pieces
from service.api.http.positions import BEFORE, split_page
from service.api.http.principal import current_principal
from service.api.http.query import OFFSET, IntParam, TextParam, invalid, read_all
from service.api.openapi.operation import Operation, ResponseSpec, Tag
from service.api.sessions.user_ids import check_named, select_labels
from service.ids import new_id
from service.store.records import Conversation

Name = Annotated[Text, StringConstraints(max_length=200)]

_LIMIT = IntParam("limit", "The maximum number of sessions.", 100, 1, 1000)
_NAME = TextParam("name", "The new name, as an alternative to a body.", 200, required=False)


class NewSession(Body):
    """A session to create. `name` is an alias of `session_name`."""

    user_id: Label | None = None
    session_name: Name | None = None
    name: Name | None = None


def _without_defaults(schema: dict[str, Any]) -> None:
    for each in schema["properties"].values():
        del each["default"]  # an empty name is not valid


class Naming(Body):
    """A session's new name, as `name` or `session_name`."""

    model_config = ConfigDict(json_schema_extra=_without_defaults)

    name: Name = ""
    session_name: Name = ""


class SessionIds(TypedDict):
    """The id of a session, under both of its names."""

    session_id: str
    thread_id: str


class SessionShown(SessionIds):
    """A session. Without a name it is named after its first question."""

    user_id: str
    session_name: str
    created_at: str
    updated_at: str


class SessionList(TypedDict):
    """A user's sessions, the most recently changed first; `next` is the position of the last."""

    sessions: list[SessionShown]
    next: NotRequired[str]


class SessionHistory(TypedDict):
    """The messages of a session in order; an unanswered question has no message after it."""

    session_id: str
    messages: list[StoredMessage]


class SessionDeleted(TypedDict):
    """A deleted session."""

    session_id: str
    deleted: bool


def install(app: Quart, api: ApiDependencies) -> None:
    """Add `/conversation/session…` to `app`."""
    own = OwnConversations(api.runs, api.store.conversations)

    @app.post("/conversation/session")
    @Operation(
        "Create a session",
        tag=Tag.SESSIONS,
        scope="run",
        body=NewSession,
        body_may_be_absent=True,
        example={"user_id": "user_1", "session_name": "Tides"},
        answers=(ResponseSpec("The session.", SessionShown),),
    )
    async def create_session() -> Response:
        principal = current_principal()
        body = await read_body(NewSession) if await request.get_data() else NewSession()
        check_named(principal, body.user_id)
        title = body.session_name or body.name or ""
        now = datetime.now(UTC)
        made = await own.kept.create(principal.owner, new_id("conv"), title, body.user_id, now)
        return jsonify(_shown(made, principal))

    @app.get("/conversation/session/<session_id>")
    @Operation(
        "Get a session",
        tag=Tag.SESSIONS,
        scope="read",
        answers=(ResponseSpec("The session.", SessionShown),),
    )
    async def show_session(session_id: str) -> Response:
        principal = current_principal()
        return jsonify(_shown(await own.find(principal, session_id), principal))

    @app.patch("/conversation/session/<session_id>")
    @Operation(
        "Rename a session",
        tag=Tag.SESSIONS,
        scope="write",
        body=Naming,
        body_may_be_absent=True,
        example={"name": "About tides"},
        parameters=(_NAME,),
        answers=(ResponseSpec("The session.", SessionShown),),
    )
    async def rename_session(session_id: str) -> Response:
        principal = current_principal()
        name = await _read_name()
        await own.find(principal, session_id)
        await own.kept.rename(principal.owner, session_id, name, datetime.now(UTC))
        return jsonify(_shown(await own.find(principal, session_id), principal))

    @app.delete("/conversation/session/<session_id>")
    @Operation(
        "Delete a session and its messages",
        tag=Tag.SESSIONS,
        scope="write",
        answers=(ResponseSpec("The session is deleted.", SessionDeleted),),
    )
    async def delete_session(session_id: str) -> Response:
        await own.delete(current_principal(), session_id)
        return jsonify({"session_id": session_id, "deleted": True})

    @app.get("/conversation/session/<session_id>/history")
    @Operation(
        "List the messages of a session",
        tag=Tag.SESSIONS,
        scope="read",
        answers=(ResponseSpec("The messages.", SessionHistory),),
    )
    async def session_history(session_id: str) -> Response:
        principal = current_principal()
        await own.find(principal, session_id)
        loads = await own.list_messages(principal, session_id)
        fields = {"session_id": session_id}
        return await respond_in_pieces(list_parts(fields, "messages", loads, {}))

    @app.get("/conversation/sessions/user/<path:user_id>")
    @Operation(
        "List the sessions of a user, the most recently changed first",
        tag=Tag.SESSIONS,
        scope="read",
        parameters=(_LIMIT, OFFSET, BEFORE),
        answers=(ResponseSpec("The sessions.", SessionList),),
    )
    async def sessions_of_user(user_id: str) -> Response:
        principal = current_principal()
        limit, offset, before = read_all(_LIMIT.read, OFFSET.read, BEFORE.read_optional)
        labels, wanted = select_labels(principal, user_id), (limit + 1, offset, before)
        if labels is None:
            found = (await own.kept.list_page(principal.owner, *wanted)).items
        else:
            found = await own.kept.list_for_users(principal.owner, labels, *wanted)
        page, position = split_page(found, limit)
        return jsonify({"sessions": [_shown(each, principal) for each in page], **position})


def user_of(conversation: Conversation, principal: Principal) -> str:
    """Return the user of a session; the owner when the session was created without a user."""
    return conversation.user_id or principal.owner


def session_ids(conversation_id: str) -> SessionIds:
    """Return the id of a conversation as the ids of a session."""
    return {"session_id": conversation_id, "thread_id": conversation_id}


def _shown(conversation: Conversation, principal: Principal) -> SessionShown:
    return {
        **session_ids(conversation.id),
        "user_id": user_of(conversation, principal),
        "session_name": conversation.title,
        "created_at": format_time(conversation.created_at),
        "updated_at": format_time(conversation.updated_at),
    }


async def _read_name() -> str:
    queried = _NAME.read_optional()
    body = await read_body(Naming) if await request.get_data() else Naming()
    name = body.name or body.session_name or queried
    if name is None:
        raise invalid("name", "this field is required")
    return name
