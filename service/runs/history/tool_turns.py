"""Calls of tools in a conversation, each with its result. Pure.

Models' servers refuse a call that no result follows, and a result that nobody called for.
Source: https://platform.openai.com/docs/guides/function-calling
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import takewhile
from typing import Any

import msgspec

from service.domain import Message
from service.errors import FieldError, RequestError


def paired(messages: Sequence[Message], said: Sequence[Message]) -> Sequence[Message]:
    """Return `messages` without calls that have no result, and results that have no call.

    Of an earlier answer whose calls nobody followed its text is left. Raises RequestError 400 when
    one of those that the caller has `said` now would have to go.
    """
    if all(each.whole is None for each in messages):  # nearly always
        return messages
    kept = list(_paired(messages))
    there = {id(each) for each in kept}  # not equality: the same may have been said before
    if not all(id(each) in there for each in said):
        fault = FieldError(
            "messages", "a tool's call needs its result behind it, a result its call"
        )
        sentence = f"The request does not fit: {fault.field}: {fault.message}."
        raise RequestError(400, "bad_request", sentence, [fault])
    return kept


def _paired(messages: Sequence[Message]) -> Iterator[Message]:
    for at, each in enumerate(messages):
        calls = _whole(each).get("tool_calls")
        if each.role == "tool":  # it came with its call, or has none
            continue
        if not calls:
            yield each
            continue
        results = list(takewhile(lambda it: it.role == "tool", messages[at + 1 :]))
        by_id = {_whole(result).get("tool_call_id"): result for result in results}
        answered = [call for call in calls if call["id"] in by_id]
        yield from _called(each, calls, answered)
        yield from (by_id[call["id"]] for call in answered)


def _called(turn: Message, calls: Sequence[Any], answered: Sequence[Any]) -> Iterator[Message]:
    if answered == calls:
        yield turn
    elif answered:
        whole = {**_whole(turn), "tool_calls": answered}
        yield replace(turn, whole=msgspec.json.encode(whole).decode())
    elif turn.content:
        yield Message(turn.role, turn.content)


def _whole(message: Message) -> dict[str, Any]:
    return msgspec.json.decode(message.whole) if message.whole else {}
