"""A conversation as a Markdown file, and the file's name. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from unicodedata import combining, normalize

from service.store.records import Conversation, ConversationTurn

_LINE_END = re.compile(r"\r\n|\r|\n")  # Source: CommonMark 0.31, 2.1
_MARKUP = re.compile(r"([\\`*_\[\]<>&#|~$])")
_SPEAKERS = {"user": "Question", "assistant": "Answer"}
_NAME_CHARS = 60


def to_markdown(conversation: Conversation, turns: Sequence[ConversationTurn]) -> str:
    """Return the conversation as Markdown: a heading and a quotation for each turn.

    Inside its quotation a text retains its own markup and cannot imitate a part of the document.
    """
    dates = (
        f"Created {_when(conversation.created_at)}, last changed {_when(conversation.updated_at)}"
    )
    parts = [f"# {_plain(conversation.title)}", dates, *(_section(turn) for turn in turns)]
    return "\n\n".join(parts) + "\n"


def file_name(conversation: Conversation, extension: str) -> str:
    """Return a name of ASCII letters, digits and hyphens, from title and date."""
    letters = "".join(c for c in normalize("NFKD", conversation.title) if not combining(c))
    words = re.sub(r"[^A-Za-z0-9]+", "-", letters)[:_NAME_CHARS].strip("-").lower()
    return f"{words or 'conversation'}-{conversation.created_at:%Y-%m-%d}.{extension}"


def _section(turn: ConversationTurn) -> str:
    speaker = _SPEAKERS.get(turn.role, turn.role.capitalize())
    parts = [f"## {speaker}, {_when(turn.created_at)}"]
    if turn.content:
        parts.append(_quoted(turn.content))
    if turn.role == "assistant" and turn.state not in (None, "completed"):
        parts.append(_plain(f"({turn.state}: {turn.error})" if turn.error else f"({turn.state})"))
    if turn.degraded_by:
        parts.append(_plain(f"({_degradation(turn)})"))
    return "\n\n".join(parts)


def _degradation(turn: ConversationTurn) -> str:
    missing = ", ".join(f"{each.agent} ({each.code})" for each in turn.missing)
    sentences = {"agents": f"without {missing}", "combiner": "written by a substitute"}
    return "degraded: " + "; ".join(sentences[reason] for reason in turn.degraded_by)


def _quoted(text: str) -> str:
    return "\n".join(f"> {line}" if line else ">" for line in _LINE_END.split(text))


def _plain(text: str) -> str:
    """Return a text as one line without markup."""
    return _MARKUP.sub(r"\\\1", " ".join(text.split()))


def _when(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
