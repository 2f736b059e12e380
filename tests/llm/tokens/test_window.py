"""Trimming of conversations: the system, the question and the latest exchanges that fit."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from service.domain import Message
from service.llm.tokens.window import (
    MESSAGE_TOKENS,
    drop_oldest_exchanges,
    estimate_max_tokens,
    trim_history,
)


def _make_talk(text: str) -> list[Message]:
    """Return a message for each word: s1 of the system, u1 of the user, a1 of the assistant."""
    roles = {"s": "system", "u": "user", "a": "assistant"}
    return [Message(roles[word[0]], word) for word in text.split()]  # type: ignore[arg-type]


def _trim(talk: str, room: int) -> str:
    """Return the remaining messages if each has one token and its overhead."""
    messages = _make_talk(talk)
    left = drop_oldest_exchanges(messages, [1] * len(messages), room * (1 + MESSAGE_TOKENS))
    return " ".join(message.content for message in left)


@pytest.mark.parametrize(
    ("talk", "room", "left"),
    [
        ("s1 u1 a1 u2 a2 u3", 6, "s1 u1 a1 u2 a2 u3"),
        ("s1 u1 a1 u2 a2 u3", 5, "s1 u2 a2 u3"),
        ("s1 u1 a1 u2 a2 u3", 4, "s1 u2 a2 u3"),
        ("s1 u1 a1 u2 a2 u3", 3, "s1 u3"),
        ("u1 a1 u2 a2 u3", 3, "u2 a2 u3"),
        ("u1", 1, "u1"),
    ],
)
def test_the_oldest_exchanges_are_dropped_first_and_completely(
    talk: str, room: int, left: str
) -> None:
    assert _trim(talk, room) == left


@pytest.mark.parametrize("room", [2, 1, 0, -1])
def test_system_messages_and_the_question_stay_even_if_they_are_too_long(room: int) -> None:
    assert _trim("s1 u1 a1 u2", room) == "s1 u2"


def test_a_question_in_several_messages_is_one_exchange() -> None:
    assert _trim("u1 u2 a2 u3 a3 u4", 5) == "u3 a3 u4"


def test_an_answer_in_several_messages_belongs_to_its_question() -> None:
    assert _trim("u1 a1 a2 u3 a3 u4", 5) == "u3 a3 u4"


def test_an_answer_without_a_question_is_a_separate_exchange() -> None:
    assert _trim("a1 u2 a2 u3", 3) == "u2 a2 u3"


def test_a_system_message_between_exchanges_stays_in_place() -> None:
    assert _trim("u1 a1 s2 u3 a3 u4", 4) == "s2 u3 a3 u4"


def test_all_exchanges_before_one_that_does_not_fit_are_dropped() -> None:
    messages = _make_talk("u1 a1 u2 a2 u3")
    left = drop_oldest_exchanges(messages, [1, 1, 100, 1, 1], 50)
    assert [message.content for message in left] == ["u3"]


def test_the_room_is_used_up_to_the_last_token() -> None:
    messages = _make_talk("u1 a1 u2")
    needed = 10 + 20 + 30 + 3 * MESSAGE_TOKENS
    assert drop_oldest_exchanges(messages, [10, 20, 30], needed) == messages
    assert drop_oldest_exchanges(messages, [10, 20, 30], needed - 1) == messages[-1:]


# --- counting only when necessary ---


class Counting:
    """Counts a token for each character, and its calls."""

    def __init__(self) -> None:
        self.calls = 0

    async def __call__(self, texts: Sequence[str]) -> Sequence[int]:
        self.calls += 1
        return [len(text) for text in texts]


@pytest.mark.parametrize("talk", ["u1", "s1 u1"])
async def test_a_question_without_history_is_never_counted(talk: str) -> None:
    count, messages = Counting(), _make_talk(talk)
    assert await trim_history(messages, -1, count) is messages
    assert count.calls == 0


async def test_a_conversation_that_fits_by_its_bytes_is_not_counted() -> None:
    count, messages = Counting(), _make_talk("s1 u1 a1 u2")
    assert await trim_history(messages, estimate_max_tokens(messages), count) is messages
    assert count.calls == 0


async def test_a_conversation_that_may_be_too_long_is_counted_once_and_trimmed() -> None:
    count, messages = Counting(), _make_talk("s1 u1 a1 u2")
    assert await trim_history(messages, estimate_max_tokens(messages) - 1, count) == _make_talk(
        "s1 u2"
    )
    assert count.calls == 1


@pytest.mark.parametrize("text", ["plain", "naïve", "空は青い", "😀", "\ud800"])
def test_no_text_has_more_tokens_than_its_bytes(text: str) -> None:
    bytes_ = len(text.encode("utf-8", "surrogatepass"))
    assert estimate_max_tokens([Message("user", text)]) == bytes_ + MESSAGE_TOKENS
