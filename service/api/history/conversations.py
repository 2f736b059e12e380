"""`/api/conversations`: list them, read one, rename it, delete it, take it along."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import StringConstraints
from quart import Quart, Response, jsonify, request
from typing_extensions import TypedDict

from service.api.dependencies import ApiDependencies
from service.api.history.export import file_name, markdown
from service.api.history.history import Paged, paged, written
from service.api.history.owned import OwnConversations, StoredMessage, message_json
from service.api.http.body import Body, Text, read_body
from service.api.http.principal import current_principal
from service.api.http.query import PAGE, ChoiceParam, page
from service.api.openapi.operation import Operation, ResponseSpec, Tag
from service.store.records import Conversation, ConversationTurn

_FORM = ChoiceParam(
    "format", "The kind of file; `Accept` may say so too.", ("json", "markdown"), "json"
)


class Renaming(Body):
    """What a client sends to rename a conversation."""

    title: Annotated[Text, StringConstraints(max_length=200)]


class ConversationSummary(TypedDict):
    """A conversation without what was said."""

    id: str
    title: str
    created_at: str
    updated_at: str


class WholeConversation(ConversationSummary):
    """A conversation and what was said."""

    messages: list[StoredMessage]


class ConversationPage(Paged):
    """Conversations, the latest changed first."""

    items: list[ConversationSummary]


def install(app: Quart, api: ApiDependencies) -> None:
    """Add `/api/conversations` to `app`."""
    conversations = api.store.conversations
    own = OwnConversations(api.runs, conversations)

    @app.get("/api/conversations")
    @Operation(
        "Conversations, the latest changed first",
        tag=Tag.CONVERSATIONS,
        parameters=PAGE,
        answers=(ResponseSpec("A page.", ConversationPage),),
    )
    async def list_conversations() -> Response:
        limit, offset = page()
        some = await conversations.list_page(current_principal().owner, limit, offset)
        items = [_shown(each) for each in some.items]
        return jsonify({"items": items, **paged(some, limit, offset)})

    @app.get("/api/conversations/<conversation_id>")
    @Operation(
        "One of them, with what was said",
        tag=Tag.CONVERSATIONS,
        answers=(ResponseSpec("The conversation.", WholeConversation),),
    )
    async def show_conversation(conversation_id: str) -> Response:
        principal = current_principal()
        conversation = await own.find(principal, conversation_id)
        return jsonify(_whole(conversation, await own.turns(principal, conversation_id)))

    @app.patch("/api/conversations/<conversation_id>")
    @Operation(
        "Rename it",
        tag=Tag.CONVERSATIONS,
        body=Renaming,
        example={"title": "About tides"},
        answers=(ResponseSpec("The conversation.", ConversationSummary),),
    )
    async def rename_conversation(conversation_id: str) -> Response:
        body = await read_body(Renaming)
        await own.find(current_principal(), conversation_id)
        await conversations.rename(
            current_principal().owner, conversation_id, body.title, datetime.now(UTC)
        )
        return jsonify(_shown(await own.find(current_principal(), conversation_id)))

    @app.delete("/api/conversations/<conversation_id>")
    @Operation(
        "Delete it, and all that was said in it",
        tag=Tag.CONVERSATIONS,
        answers=(ResponseSpec("It is gone.", status=204),),
    )
    async def delete_conversation(conversation_id: str) -> Response:
        await own.delete(current_principal(), conversation_id)
        return _no_content()

    @app.get("/api/conversations/<conversation_id>/export")
    @Operation(
        "Take it along as a file",
        tag=Tag.CONVERSATIONS,
        parameters=(_FORM,),
        answers=(
            ResponseSpec("The conversation.", WholeConversation),
            ResponseSpec("The conversation, to read.", str, media="text/markdown"),
        ),
    )
    async def export_conversation(conversation_id: str) -> Response:
        principal = current_principal()
        conversation, form = await own.find(principal, conversation_id), _wanted_form()
        turns = await own.turns(principal, conversation_id)
        if form == "markdown":
            kind = "text/markdown; charset=utf-8"
            response = Response(markdown(conversation, turns), content_type=kind)
        else:
            response = jsonify(_whole(conversation, turns))
        name = file_name(conversation, "md" if form == "markdown" else "json")
        response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
        return response


def _wanted_form() -> str:
    asked = request.accept_mimetypes.best_match(["application/json", "text/markdown"])
    default = "markdown" if asked == "text/markdown" else "json"
    return _FORM.read(default)


def _shown(conversation: Conversation) -> dict[str, Any]:
    return {
        "id": conversation.id,
        "title": conversation.title,
        "created_at": written(conversation.created_at),
        "updated_at": written(conversation.updated_at),
    }


def _whole(conversation: Conversation, turns: Sequence[ConversationTurn]) -> dict[str, Any]:
    return {**_shown(conversation), "messages": [message_json(turn) for turn in turns]}


def _no_content() -> Response:
    response = Response(status=204)
    for name in ("Content-Type", "Content-Length"):  # there is none to describe
        response.headers.remove(name)
    return response
