"""Conversations that match a search: by their titles, then by their questions and answers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup, escape

from service.api.history.history import snippet_html
from service.store.records import Conversation, SearchHit
from service.store.store import Store

_MAX_TITLES: Final = 20
_MAX_HITS: Final = 50


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A place in a run that matches, as HTML with marked matches."""

    run_id: str
    html: Markup


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedConversation:
    """A conversation of a list; `title` is HTML with marked matches."""

    conversation: Conversation
    title: Markup
    excerpts: tuple[Excerpt, ...] = ()


def list_plainly(found: Iterable[Conversation]) -> list[ListedConversation]:
    """Return conversations as items of a list, without matches."""
    return [ListedConversation(conversation=each, title=escape(each.title)) for each in found]


@dataclass(frozen=True, slots=True)
class FoundConversations:
    """The best matches of a search; `has_more` if there are others."""

    items: list[ListedConversation]
    has_more: bool


async def find_conversations(store: Store, owner: str, text: str) -> FoundConversations:
    """Return the conversations that match `text`, best first: at first those by their title.

    Raises StorageUnavailable.
    """
    by_title = await store.outlines.find_by_title(owner, text, _MAX_TITLES + 1)
    hits = await store.search.find(owner, text, limit=_MAX_HITS)
    has_more = len(by_title) > _MAX_TITLES or hits.total > _MAX_HITS
    excerpts: dict[str, tuple[Excerpt, ...]] = {each.id: () for each in by_title[:_MAX_TITLES]}
    for hit in hits.items:
        listed = excerpts.get(hit.run.conversation_id, ())
        excerpts[hit.run.conversation_id] = (*listed, _make_excerpt(hit))
    known = await store.outlines.list_by_ids(owner, excerpts.keys())
    items = [
        ListedConversation(
            conversation=known[each],
            title=mark_words(known[each].title, text),
            excerpts=excerpts[each],
        )
        for each in excerpts
        if each in known  # else it was deleted a moment ago
    ]
    return FoundConversations(items, has_more)


def mark_words(title: str, text: str) -> Markup:
    """Return `title` as HTML, with the words of `text` in <mark> elements."""
    words = sorted(set(text.split()), key=len, reverse=True)
    if not words:
        return escape(title)
    pieces = re.split(f"({'|'.join(map(re.escape, words))})", title, flags=re.IGNORECASE)
    mark = Markup("<mark>{}</mark>")
    return Markup("").join(
        mark.format(piece) if place % 2 else escape(piece) for place, piece in enumerate(pieces)
    )


def _make_excerpt(hit: SearchHit) -> Excerpt:
    return Excerpt(hit.run.id, Markup(snippet_html(hit.snippet)))  # noqa: S704  (it is escaped)
