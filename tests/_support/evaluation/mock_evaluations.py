"""Evaluations with the mock's skills in one call, without a server: members, and one combiner."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from service.evaluation.grading.grade import grade_answer
from service.evaluation.questions.question import Question
from service.evaluation.results import Contestant, Evaluation, FrozenInputs, GivenAnswer
from service.mock_llm.transport import MockLLM

INPUTS = FrozenInputs(
    questions_file="questions.jsonl",
    questions_hash="0" * 64,
    ensembles_hash="1" * 64,
    version="0.1.0",
    seed=0,
    started_at="2026-11-27T00:00:00Z",
)


@dataclass(frozen=True, slots=True)
class MockEnsemble:
    """An ensemble of the mock: the models of its members, and of its combiner.

    A combiner of "" repeats the first member.
    """

    name: str
    members: Sequence[str]
    combiner: str = ""


def ask_mock(mock: MockLLM, model: str, text: str, **fields: object) -> str:
    """Return the mock's answer to one message of a user."""
    messages = [{"role": "user", "content": text}]
    return ask_mock_chat(mock, model, messages, **fields)


def ask_mock_chat(
    mock: MockLLM, model: str, messages: Sequence[dict[str, str]], **fields: object
) -> str:
    """Return the mock's answer to messages."""
    body = {"model": model, "messages": messages, **fields}
    plan = mock.respond("POST", "/v1/chat/completions", json.dumps(body).encode())
    document = json.loads(b"".join(step.data for step in plan.steps))
    assert plan.status == 200, document
    content: str = document["choices"][0]["message"]["content"]
    return content


def evaluate_mock(
    questions: Sequence[Question], ensembles: Sequence[MockEnsemble], seed: int
) -> Evaluation:
    """Return the evaluation of ensembles that share the answers of their members."""
    mock = MockLLM(seed=seed)
    models = list(dict.fromkeys(model for each in ensembles for model in each.members))
    answers: list[GivenAnswer] = []
    for question in questions:
        texts = {model: ask_mock(mock, model, question.text) for model in models}
        answers += [_make_answer(question, f"agent/{name}", text) for name, text in texts.items()]
        for ensemble in ensembles:
            given = [texts[model] for model in ensemble.members]
            text = _combine(mock, ensemble.combiner, question, given)
            answers.append(_make_answer(question, ensemble.name, text))
    members = [Contestant(name=f"agent/{model}", kind="member") for model in models]
    return Evaluation(
        inputs=INPUTS,
        questions=tuple(questions),
        contestants=(*members, *(_make_contestant(each) for each in ensembles)),
        answers=tuple(answers),
    )


def _combine(mock: MockLLM, combiner: str, question: Question, given: Sequence[str]) -> str:
    if not combiner:
        return given[0]
    parts = [f"Question:\n{question.text}", "Answers of the assistants:"]
    parts += [f"[llm-{number}]\n{text}" for number, text in enumerate(given, 1)]
    return ask_mock(mock, combiner, "\n\n".join(parts))


def _make_contestant(ensemble: MockEnsemble) -> Contestant:
    members = tuple(f"agent/{model}" for model in ensemble.members)
    return Contestant(name=ensemble.name, kind="ensemble", members=members)


def _make_answer(question: Question, contestant: str, text: str) -> GivenAnswer:
    grade = grade_answer(text, question.reference)
    return GivenAnswer(
        question_id=question.id,
        contestant=contestant,
        run_id=f"run-{contestant}-{question.id}",
        text=text,
        model=contestant.removeprefix("agent/"),
        grade=grade,
    )
