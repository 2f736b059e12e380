"""Combiners that repeat one of the answers that they are sent, chosen by a known rule."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from service.mock_llm.script import Script
from service.mock_llm.skills.knowledge import find_known_answer

_HEADING = re.compile(r"^\[[^\]\n]+\](?: \([^)\n]*\))?\n", re.M)
_ANSWERS = "Answers of the assistants:"


def combine_by_rule(prompt: str, script: Script) -> str | None:
    """Return the chosen answer; None without a rule, or without answers in the prompt.

    `majority`: the most frequent last line, the first of equal ones. `longest`: the longest text.
    `right`: a right one if there is any, else the first.
    """
    answers = _read_answers(prompt) if script.combine else []
    if not answers:
        return None
    if script.combine == "longest":
        return max(answers, key=len)
    if script.combine == "right":
        known = find_known_answer(prompt.partition(_ANSWERS)[0])
        right = [each for each in answers if known and known.is_right(each)]
        return (right or answers)[0]
    votes = Counter(_read_vote(each) for each in answers)
    winner = votes.most_common(1)[0][0]
    return next(each for each in answers if _read_vote(each) == winner)


def _read_answers(prompt: str) -> Sequence[str]:
    _, _, answers = prompt.partition(_ANSWERS)
    return [text.strip() for text in _HEADING.split(answers)[1:] if text.strip()]


def _read_vote(answer: str) -> str:
    return answer.splitlines()[-1].strip().casefold()
