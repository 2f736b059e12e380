"""The structure that describes a server's format, as differences from a plain chunk.

A plain chunk has `id`, `object`, `created` and `model`, and one choice with a delta.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from service.mock_llm.wire import error_document

Fields = Mapping[str, Any]

# Fields of several servers.
LOGPROBS: Fields = {"logprobs": None}
TOKEN_DETAILS: Fields = {
    "prompt_tokens_details": {"cached_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 0},
}


class UsagePlace(Enum):
    """The chunk of a stream that has the usage."""

    OWN_CHUNK = "a chunk without choices"
    EMPTY_DELTA = "a chunk whose choice has an empty delta"
    LAST_CHUNK = "the chunk with the finish reason"


class RolePlace(Enum):
    """The deltas of a stream that have the role."""

    FIRST = "the first delta"
    CONTENT = "the deltas before the finish reason"
    ALL = "every delta"


class ErrorEvent(Enum):
    """The form of an error within a stream."""

    DATA = "the error as data"
    NAMED = "the error as data of an event named error"
    FIELD = "the error in a line `error:` instead of `data:`"
    CHUNK = "a chunk with the error and the finish reason, then the end marker"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallForm:
    """The form of tool calls in a stream.

    `is_whole`: a call is sent with all its arguments. `index` is a fixed index, None the call's own
    number; without `has_index` there is none. `first` are further fields of the first call, `later`
    those of a later piece. `ends`: the last call's chunk has the finish reason.
    """

    is_whole: bool = False
    has_index: bool = True
    index: int | None = None
    has_type: bool = True
    first: Fields = field(default_factory=dict)
    later: Fields = field(default_factory=dict)
    ends: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasoningForm:
    """The form of reasoning. `write` returns the fields of a delta or a message with this text.

    `base` are fields of every delta of a model that reasons, `first` those of its first one; `end`
    is the delta after the reasoning.
    """

    write: Callable[[str], Fields]
    base: Fields = field(default_factory=dict)
    first: Fields = field(default_factory=dict)
    end: Fields | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """The format of one server. `…_fields` are further fields of the object in their name.

    A stream is `comments`, `before` (complete chunks), a chunk with `first_delta` (None: the role
    is in the first content's delta), reasoning, content, `after`, and a chunk with the finish
    reason and `end_delta` (None: the last content's chunk has the reason).
    """

    comments: Sequence[str] = ()
    before: Sequence[Fields] = ()
    after: Sequence[Fields] = ()
    chunk_fields: Fields = field(default_factory=dict)
    first_chunk_fields: Fields = field(default_factory=dict)
    content_chunk_fields: Fields = field(default_factory=dict)
    choice_fields: Fields = field(default_factory=dict)
    content_choice_fields: Fields = field(default_factory=dict)
    end_choice_fields: Fields = field(default_factory=dict)
    delta_fields: Fields = field(default_factory=dict)
    message_fields: Fields = field(default_factory=dict)
    first_delta: Fields | None = field(default_factory=lambda: {"content": ""})
    end_delta: Fields | None = field(default_factory=dict)
    role_place: RolePlace = RolePlace.FIRST
    has_null_reason: bool = True  # `finish_reason` is null before the end, else absent
    reasons: Mapping[str, Any] = field(default_factory=dict)  # by OpenAI's reason
    native_reasons: Mapping[str, str] | None = None  # of `native_finish_reason`
    usage_place: UsagePlace = UsagePlace.OWN_CHUNK
    usage_fields: Fields = field(default_factory=dict)
    usage_chunk_fields: Fields = field(default_factory=dict)
    usage_also_in: str = ""  # a field of the last chunk that has the usage in any case
    has_usage_always: bool = False  # else when the request wants it
    has_null_usage: bool | None = None  # before the end; None: when the request wants usage
    calls: CallForm = CallForm()
    reasoning: ReasoningForm | None = None
    reasoning_tag: str = "think"  # around reasoning in the text
    error: Callable[[int, str], Any] = error_document
    error_event: ErrorEvent = ErrorEvent.DATA
