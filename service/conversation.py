"""The conversation of a request: whether it starts or continues, and where its history is from.

An API chooses one value of `History`; `service.runs.history` applies it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

from service.ids import new_id


@dataclass(frozen=True, slots=True)
class NewConversation:
    """A conversation that the request starts.

    Of the request's messages, models receive the last exchanges (MAX_EXCHANGES).
    """

    conversation_id: str = field(default_factory=partial(new_id, "conv"))


@dataclass(frozen=True, slots=True)
class Given:
    """A conversation that the request starts with its complete history.

    Models receive all messages of the request.
    """

    conversation_id: str = field(default_factory=partial(new_id, "conv"))


@dataclass(frozen=True, slots=True)
class Continue:
    """A named conversation, which may be stored already.

    Stored turns replace the request's own account of them: of its earlier messages only those of
    the system count, and the tool results directly before a question that is one too. If nothing
    is stored, the conversation starts, as `Given` if `is_complete`, else as `NewConversation`.
    """

    conversation_id: str
    is_complete: bool = False


@dataclass(frozen=True, slots=True)
class Branch:
    """A named conversation to which the request adds all its messages.

    They follow the stored turns up to the run `after`, or all of them if it is empty. If nothing
    is stored, the conversation starts as `Given`.
    """

    conversation_id: str
    after: str = ""


History = NewConversation | Given | Continue | Branch


def continue_or_start(conversation_id: str | None) -> Continue | NewConversation:
    """Return the history of a request that may name its conversation."""
    return Continue(conversation_id) if conversation_id else NewConversation()
