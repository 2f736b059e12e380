"""The question to the judge about two answers, and its verdict in JSON. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from service.domain import AgentReport, Message, Usage
from service.ensembles.agents import Agent
from service.ensembles.catalog import Ensemble
from service.evaluation.panels.entrants import make_single
from service.evaluation.questions.question import JudgedReference, Question
from service.strategies.base import ReusedAnswer
from service.strategies.judging.candidates import Candidates
from service.strategies.judging.json_text import find_json

Choice = Literal["A", "B", "tie"]
CHOICES: Final = ("A", "B", "tie")
SCHEMA: Final[Mapping[str, Any]] = {
    "type": "object",
    "properties": {
        "reason": {"type": "string"},
        "better": {"type": "string", "enum": [*CHOICES]},
    },
    "required": ["reason", "better"],
    "additionalProperties": False,
}
_TASK = (
    "Decide which candidate answers the question better: more correct first, then more complete "
    "and helpful. Length, style and the order of the candidates must not matter. If neither is "
    "better, the verdict is a tie. State the reason in one sentence, then `better`: A, B or tie."
)
_ONLY_JSON = "Reply with one JSON object by this schema and with nothing else:\n"
_QUOTED_CHARS = 4_000  # of nonsense that the judge is shown again


class Verdict(msgspec.Struct):
    """The better of two candidates."""

    better: str
    reason: str = ""


def make_judge(judge: Agent) -> Ensemble:
    """Return the judge as it is asked: by its model, for JSON, without its own prompt."""
    temperature = 0.0 if judge.temperature is None else judge.temperature
    return make_single(
        judge.derive(judge.name, prompt="", json_schema=SCHEMA, temperature=temperature)
    )


def make_messages(question: Question, judge: Agent, first: str, second: str) -> tuple[Message]:
    """Return the question about two texts, the first of which is candidate A."""
    answers = [_make_candidate(judge, text) for text in (first, second)]
    parts = [Candidates(answers, f"{question.id}/{question.text}").format(question.text)]
    reference = question.reference
    if isinstance(reference, JudgedReference) and reference.answer:
        parts.append(f"A reference answer that is right:\n{reference.answer}")
    schema = msgspec.json.encode(SCHEMA).decode()
    parts += [_TASK, f"{_ONLY_JSON}{schema}"]
    return (Message("user", "\n\n".join(parts)),)


def ask_again(messages: tuple[Message, ...], text: str, why: str) -> tuple[Message, ...]:
    """Return the messages after a reply that cannot be used."""
    fault = f"Your reply cannot be used: {why}. Reply again, with only the JSON object."
    return (*messages, Message("assistant", text[:_QUOTED_CHARS]), Message("user", fault))


def read_verdict(text: str) -> tuple[Choice, str]:
    """Return the choice and the reason of a reply. Raises ValueError if it has none."""
    try:
        verdict = msgspec.convert(find_json(text), Verdict, strict=False)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from error
    named = verdict.better.strip().lower()
    for choice in CHOICES:
        if named == choice.lower():
            return choice, verdict.reason
    raise ValueError("`better` must be A, B or tie")


def _make_candidate(judge: Agent, text: str) -> ReusedAnswer:
    report = AgentReport(
        agent="", model="", text=text, usage=Usage(), cost=None, elapsed_ms=0, first_token_ms=None
    )
    return ReusedAnswer(judge, report)
