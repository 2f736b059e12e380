"""An answer in passages with their sources."""

from __future__ import annotations

from typing import Any

import pytest

from service.pages.runs.provenance import AnswerPassage, split_answer

_ANSWER = "Först. Zweitens 🌊. Third."


def _part(start: int, end: int, *agents: str) -> dict[str, Any]:
    return {"text": _ANSWER[start:end], "start": start, "end": end, "agents": list(agents)}


def test_text_between_the_parts_has_no_sources() -> None:
    passages = split_answer(_ANSWER, [_part(7, 18, "a", "b"), _part(0, 6, "a")])
    assert passages == [
        AnswerPassage("Först.", ("a",)),
        AnswerPassage(" "),
        AnswerPassage("Zweitens 🌊.", ("a", "b")),
        AnswerPassage(_ANSWER[18:]),
    ]


@pytest.mark.parametrize(
    "parts",
    [
        [_part(0, 10, "a"), _part(5, 12, "b")],
        [_part(20, 900, "a")],
        [_part(-3, 4, "a")],
        [_part(9, 3, "a")],
        [],
    ],
)
def test_the_passages_join_to_the_answer_whatever_the_parts_are(parts: list[Any]) -> None:
    passages = split_answer(_ANSWER, parts)
    assert "".join(each.text for each in passages) == _ANSWER
