"""`/web/conversations`: the list of conversations and the search; the branches of one."""

from __future__ import annotations

from typing import Any, Final

from quart import Blueprint, Response, request

from service.api.history.owned import OwnConversations
from service.api.http.positions import BEFORE, split_page
from service.api.http.principal import current_principal, needs_scope
from service.pages.conversations.found import find_conversations, list_plainly
from service.pages.conversations.tree import make_tree
from service.pages.dependencies import PageDependencies

_PATH: Final = "/web/conversations"
_PAGE_SIZE: Final = 25
_MAX_QUERY_CHARS: Final = 1_000
_MAX_RUNS: Final = 1_000  # in the tree of a conversation


def install(blueprint: Blueprint, pages: PageDependencies) -> None:
    """Add the pages of conversations.

    With `?part=list` only the items, for the script that searches and continues the list.
    """
    store = pages.api.store
    own = OwnConversations(pages.api.runs, store.conversations)

    @blueprint.get(_PATH)
    @needs_scope("read")
    async def conversations_page() -> Response:
        query = _read_query()
        values = await _search(pages, query) if query else await _list(pages)
        is_part = request.args.get("part") == "list"
        template = "conversations/list.html" if is_part else "conversations/conversations.html"
        return pages.render(template, query=query, **values)

    @blueprint.get(f"{_PATH}/<conversation_id>")
    @needs_scope("read")
    async def branches_page(conversation_id: str) -> Response:
        principal = current_principal()
        conversation = await own.find(principal, conversation_id)
        found = await store.outlines.list_runs(principal.owner, conversation_id, _MAX_RUNS + 1)
        return pages.render(
            "conversations/branches.html",
            conversation=conversation,
            steps=make_tree(found[-_MAX_RUNS:]),
            is_cut=len(found) > _MAX_RUNS,
        )


def _read_query() -> str:
    return request.args.get("q", "").replace("\0", " ").strip()[:_MAX_QUERY_CHARS]


async def _search(pages: PageDependencies, query: str) -> dict[str, Any]:
    found = await find_conversations(pages.api.store, current_principal().owner, query)
    return {
        "items": found.items,
        "next": None,
        "total": len(found.items),
        "has_more": found.has_more,
    }


async def _list(pages: PageDependencies) -> dict[str, Any]:
    before = BEFORE.read_optional()
    owner = current_principal().owner
    some = await pages.api.store.conversations.list_page(owner, _PAGE_SIZE + 1, 0, before)
    page, position = split_page(some.items, _PAGE_SIZE)
    return {
        "items": list_plainly(page),
        "next": position.get("next"),
        "total": some.total,
        "has_more": False,
    }
