"""Answers that are right with the probability `skill`."""

from __future__ import annotations

from random import Random

from service.mock_llm.script import Script
from service.mock_llm.skills.draws import make_random
from service.mock_llm.skills.knowledge import KnownAnswer, find_known_answer

_FILLER = "This follows from what is generally known about the question, looked at step by step."


def answer_by_skill(question: str, script: Script, speaker: str, seed: int) -> str | None:
    """Return a right or a wrong answer; None without a skill, or for an unknown question.

    Errors of two speakers are independent, except for the part `shared` of the questions, on which
    all agents with this option draw the same number, and give the same wrong answer.
    """
    known = find_known_answer(question) if script.skill is not None else None
    if known is None or script.skill is None:
        return None
    is_own_topic = script.topic in (None, known.topic)
    skill = script.skill if is_own_topic else script.elsewhere
    random = _choose_random(known, script, speaker, seed)
    answer = known.right if random.random() < skill else random.choice(known.wrong)
    return "\n\n".join([*[_FILLER] * script.pad, answer])


def _choose_random(known: KnownAnswer, script: Script, speaker: str, seed: int) -> Random:
    """Return the generator of this speaker, or the one that all share for this question."""
    shared = make_random("shared", seed, known.question)
    if shared.random() < script.shared:
        return shared
    return make_random("own", speaker, known.question)
