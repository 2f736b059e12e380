"""A conversation as a Markdown file, and the file's name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import partial
from itertools import chain
from unicodedata import combining, normalize

from service.api.history.owned import LoadTurns
from service.api.http.pieces import Load
from service.store.records import Conversation, ConversationTurn

_LINE_END = re.compile(r"\r\n|\r|\n")  # Source: CommonMark 0.31, 2.1
_MARKUP = re.compile(r"([\\`*_\[\]<>&#|~$])")
_SPEAKERS = {"user": "Question", "assistant": "Answer"}
_CUTS = {
    "length": "it reached its limit of tokens",
    "content_filter": "a content filter stopped it",
}
_NAME_CHARS = 60


def list_markdown_parts(conversation: Conversation, loads: Iterable[LoadTurns]) -> Iterator[Load]:
    """Yield the parts of a Markdown file: a heading, and a quotation for each turn.

    Inside its quotation a text retains its own markup and cannot imitate a part of the document.
    """

    async def load_heading() -> Iterable[str]:
        return [format_heading(conversation)]

    async def load_sections(load: LoadTurns) -> Iterable[str]:
        return chain.from_iterable(map(format_turn, await load()))

    yield load_heading
    for load in loads:
        yield partial(load_sections, load)


def format_heading(conversation: Conversation) -> str:
    """Return the start of the document: the title and the dates."""
    dates = (
        f"Created {_when(conversation.created_at)}, last changed {_when(conversation.updated_at)}"
    )
    return f"# {_plain(conversation.title)}\n\n{dates}\n"


def format_turn(turn: ConversationTurn) -> Iterator[str]:
    """Yield the section of a turn in pieces."""
    speaker = _SPEAKERS.get(turn.role, turn.role.capitalize())
    yield f"\n## {speaker}, {_when(turn.created_at)}\n"
    if turn.content:
        yield "\n"
        yield from _quote(turn.content)
    if turn.role == "assistant" and turn.state not in (None, "completed"):
        state = f"({turn.state}: {turn.error})" if turn.error else f"({turn.state})"
        yield f"\n{_plain(state)}\n"
    if turn.finish_reason in _CUTS:
        yield f"\n{_plain(f'(cut off: {_CUTS[turn.finish_reason]})')}\n"
    if turn.degraded_by:
        yield f"\n{_plain(f'({_degradation(turn)})')}\n"


def file_name(conversation: Conversation, extension: str) -> str:
    """Return a name of ASCII letters, digits and hyphens, from title and date."""
    letters = "".join(c for c in normalize("NFKD", conversation.title) if not combining(c))
    words = re.sub(r"[^A-Za-z0-9]+", "-", letters)[:_NAME_CHARS].strip("-").lower()
    return f"{words or 'conversation'}-{conversation.created_at:%Y-%m-%d}.{extension}"


def _degradation(turn: ConversationTurn) -> str:
    missing = ", ".join(f"{each.agent} ({each.code})" for each in turn.missing)
    sentences = {
        "agents": f"without {missing}",
        "combiner": "written by a substitute",
        "judge": "without a judge's verdict",
    }
    return "degraded: " + "; ".join(sentences[reason] for reason in turn.degraded_by)


def _quote(text: str) -> Iterator[str]:
    place = 0
    for end in _LINE_END.finditer(text):
        yield _quote_line(text[place : end.start()])
        place = end.end()
    yield _quote_line(text[place:])


def _quote_line(line: str) -> str:
    return f"> {line}\n" if line else ">\n"


def _plain(text: str) -> str:
    """Return a text as one line without markup."""
    return _MARKUP.sub(r"\\\1", " ".join(text.split()))


def _when(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
