"""`/web/chat`: the chat page, and the stream of messages that its script reads."""

from __future__ import annotations

from typing import Final

from quart import Blueprint, Response, request

from service.api.http.body import parse_event_id
from service.api.http.principal import current_principal, needs_scope
from service.api.http.query import SequenceParam, is_valid_id
from service.api.http.sse import StreamFormat, stream_all
from service.ensembles.catalog import Catalog
from service.errors import RequestError
from service.pages.chat import asking
from service.pages.chat.conversation import (
    BLANK,
    BLANK_AGENT,
    ShownBranch,
    WantedBranch,
    load_branch,
)
from service.pages.chat.live import LiveEncoder
from service.pages.chat.view import PHASES
from service.pages.dependencies import PageDependencies
from service.store.records import Conversation

_AFTER: Final = SequenceParam("starting_after", "The number of the last received event.")
_DRAFT_CHARS: Final = 10_000
# An event instead of a comment: a script does not see comments, and notices a lost connection.
_LIVE: Final = StreamFormat("text/event-stream", b"data: {}\n\n")


def install(blueprint: Blueprint, pages: PageDependencies) -> None:
    """Add the chat page."""
    asking.install(blueprint, pages)
    api = pages.api

    def show(conversation: Conversation | None, branch: ShownBranch) -> Response:
        return pages.render(
            "chat/chat.html",
            conversation=conversation,
            branch=branch,
            current=branch.exchanges[-1] if branch.exchanges else None,
            phases=PHASES,
            blank=BLANK,
            blank_agent=BLANK_AGENT,
            catalog=api.catalog(),
            ensemble=_choose_ensemble(api.catalog(), branch),
            question=request.args.get("question", "")[:_DRAFT_CHARS],
        )

    @blueprint.get(asking.CHAT_PATH)
    @needs_scope("read")
    async def chat_page() -> Response:
        return show(None, ShownBranch(exchanges=()))

    @blueprint.get(f"{asking.CHAT_PATH}/<conversation_id>")
    @needs_scope("read")
    async def conversation_page(conversation_id: str) -> Response:
        owner = current_principal().owner
        conversation = None
        if is_valid_id(conversation_id):
            conversation = await api.store.conversations.get(owner, conversation_id)
        if conversation is None:
            raise RequestError("conversation_not_found", "There is no such conversation.")
        run, until = (request.args.get(name, "") for name in ("run", "until"))
        wanted = WantedBranch(conversation_id, run, until)
        branch = await load_branch(api.runs, api.store, owner, wanted)
        return show(conversation, branch)

    @blueprint.get("/web/runs/<run_id>/live")
    @needs_scope("read", use="events")
    async def live(run_id: str) -> Response:
        after = _read_position(run_id)
        run = await api.runs.find(run_id, current_principal().owner)
        if after > run.log.last_seq and run.is_complete:
            after = 0  # the page shows what is not stored: it starts again
        return stream_all(api.runs, run, LiveEncoder(run, after), after, _LIVE)


def _read_position(run_id: str) -> int:
    """Return the number of the last event that the reader has received. Raises RequestError 400."""
    last = request.headers.get("Last-Event-ID")
    if not last:
        return _AFTER.read()
    named, seq = parse_event_id(last)
    if named != run_id:
        raise RequestError(
            "bad_last_event_id", "Last-Event-ID belongs to another run than the address."
        )
    return seq


def _choose_ensemble(catalog: Catalog, branch: ShownBranch) -> str:
    """Return the ensemble that the page offers first: the requested, the last or the default."""
    last = branch.exchanges[-1].ensemble if branch.exchanges else ""
    wanted = request.args.get("ensemble") or last
    return wanted if catalog.find(wanted) and wanted else catalog.default
