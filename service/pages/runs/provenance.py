"""The answer of a run as passages, each with the agents that it rests on. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class AnswerPassage:
    """A part of an answer; `agents` is empty where the sources are not known."""

    text: str
    agents: tuple[str, ...] = ()


def split_answer(answer: str, parts: Sequence[Mapping[str, Any]]) -> Sequence[AnswerPassage]:
    """Return `answer` in passages; their texts join to it.

    `parts` are those of `provenance` in `GET /api/runs/{id}`. A part that overlaps an earlier one
    or lies outside of the answer is left out: an answer can have changed after it was assigned.
    """
    passages: list[AnswerPassage] = []
    position = 0
    for part in sorted(parts, key=lambda each: int(each["start"])):
        start, end = int(part["start"]), int(part["end"])
        if not position <= start < end <= len(answer):
            continue
        if start > position:
            passages.append(AnswerPassage(answer[position:start]))
        passages.append(AnswerPassage(answer[start:end], tuple(part["agents"])))
        position = end
    if position < len(answer):
        passages.append(AnswerPassage(answer[position:]))
    return passages
