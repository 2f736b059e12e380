"""`/api/conversations`: list, read, rename, delete and export conversations."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, NotRequired

from pydantic import StringConstraints
from quart import Quart, Response, jsonify, request
from typing_extensions import TypedDict

from service.api.dependencies import ApiDependencies
from service.api.history.export import file_name, list_markdown_parts
from service.api.history.history import Paged, page_fields
from service.api.history.items import format_time
from service.api.history.owned import OwnConversations, StoredMessage
from service.api.http.body import Body, Text, read_body
from service.api.http.pieces import list_parts, respond_in_pieces
from service.api.http.positions import BEFORE, split_page
from service.api.http.principal import current_principal
from service.api.http.query import PAGE, ChoiceParam, read_all, read_page
from service.api.openapi.operation import Operation, ResponseSpec, Tag
from service.store.records import Conversation

_FORMAT = ChoiceParam(
    "format",
    "The format of the file; `Accept` decides by default.",
    ("json", "markdown"),
    "json",
)


class Renaming(Body):
    """The new title of a conversation."""

    title: Annotated[Text, StringConstraints(max_length=200)]


class ConversationSummary(TypedDict):
    """A conversation without its messages."""

    id: str
    title: str
    created_at: str
    updated_at: str


class WholeConversation(ConversationSummary):
    """A conversation with its messages."""

    messages: list[StoredMessage]


class ConversationPage(Paged):
    """Conversations, the most recently changed first; `next` is the position of the last."""

    items: list[ConversationSummary]
    next: NotRequired[str]


def install(app: Quart, api: ApiDependencies) -> None:
    """Add `/api/conversations` to `app`."""
    conversations = api.store.conversations
    own = OwnConversations(api.runs, conversations)

    @app.get("/api/conversations")
    @Operation(
        "List conversations, the most recently changed first",
        tag=Tag.CONVERSATIONS,
        scope="read",
        parameters=(*PAGE, BEFORE),
        answers=(ResponseSpec("A page of conversations.", ConversationPage),),
    )
    async def list_conversations() -> Response:
        (limit, offset), before = read_all(read_page, BEFORE.read_optional)
        owner = current_principal().owner
        some = await conversations.list_page(owner, limit + 1, offset, before)
        page, position = split_page(some.items, limit)
        items = [_shown(each) for each in page]
        return jsonify({"items": items, **page_fields(some, limit, offset), **position})

    @app.get("/api/conversations/<conversation_id>")
    @Operation(
        "Get a conversation with its messages",
        tag=Tag.CONVERSATIONS,
        scope="read",
        answers=(ResponseSpec("The conversation.", WholeConversation),),
    )
    async def show_conversation(conversation_id: str) -> Response:
        principal = current_principal()
        conversation = await own.find(principal, conversation_id)
        loads = await own.list_messages(principal, conversation_id)
        return await respond_in_pieces(list_parts(_shown(conversation), "messages", loads, {}))

    @app.patch("/api/conversations/<conversation_id>")
    @Operation(
        "Rename a conversation",
        tag=Tag.CONVERSATIONS,
        scope="write",
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
        "Delete a conversation and its messages",
        tag=Tag.CONVERSATIONS,
        scope="write",
        answers=(ResponseSpec("The conversation is deleted.", status=204),),
    )
    async def delete_conversation(conversation_id: str) -> Response:
        await own.delete(current_principal(), conversation_id)
        return Response(status=204)

    @app.get("/api/conversations/<conversation_id>/export")
    @Operation(
        "Export a conversation as a file",
        tag=Tag.CONVERSATIONS,
        scope="read",
        parameters=(_FORMAT,),
        answers=(
            ResponseSpec("The conversation.", WholeConversation),
            ResponseSpec("The conversation as Markdown.", str, media="text/markdown"),
        ),
    )
    async def export_conversation(conversation_id: str) -> Response:
        principal = current_principal()
        conversation, form = await own.find(principal, conversation_id), _read_format()
        if form == "markdown":
            turns = await own.list_turns(principal, conversation_id)
            kind = "text/markdown; charset=utf-8"
            response = await respond_in_pieces(list_markdown_parts(conversation, turns), kind)
        else:
            loads = await own.list_messages(principal, conversation_id)
            response = await respond_in_pieces(
                list_parts(_shown(conversation), "messages", loads, {})
            )
        name = file_name(conversation, "md" if form == "markdown" else "json")
        response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
        return response


def _read_format() -> str:
    preferred = request.accept_mimetypes.best_match(["application/json", "text/markdown"])
    default = "markdown" if preferred == "text/markdown" else "json"
    return _FORMAT.read(default)


def _shown(conversation: Conversation) -> dict[str, Any]:
    return {
        "id": conversation.id,
        "title": conversation.title,
        "created_at": format_time(conversation.created_at),
        "updated_at": format_time(conversation.updated_at),
    }
