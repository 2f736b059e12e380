"""Agents, judges and combiners of the mock that are right with a known probability."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise

import pytest

from service.evaluation.grading.grade import grade_answer
from service.evaluation.questions.question import NumericReference
from service.evaluation.questions.sample import read_sample
from service.mock_llm.skills.knowledge import find_known_answer
from service.mock_llm.transport import MockLLM
from tests._support.evaluation.mock_evaluations import ask_mock, ask_mock_chat

_SUMS = [(f"What is {n} + {7 * n}?", 8 * n) for n in range(1, 401)]


def _is_right(mock: MockLLM, model: str, question: str, value: float, **fields: object) -> bool:
    text = ask_mock(mock, model, question, **fields)
    grade = grade_answer(text, NumericReference(value))
    assert grade
    assert grade.name in ("right", "wrong")
    return grade.name == "right"


def _rights(model: str, mock_seed: int = 0, **fields: object) -> list[bool]:
    mock = MockLLM(seed=mock_seed)
    return [_is_right(mock, model, question, value, **fields) for question, value in _SUMS]


def _share_of_equal(one: Sequence[bool], other: Sequence[bool]) -> float:
    return sum(a == b for a, b in zip(one, other, strict=True)) / len(one)


# --- agents ---


@pytest.mark.parametrize("skill", [0.0, 0.3, 0.6, 0.95, 1.0])
def test_an_agent_is_right_with_the_probability_of_its_skill(skill: float) -> None:
    share = sum(_rights(f"mock?skill={skill}")) / len(_SUMS)
    assert abs(share - skill) < 0.1
    if skill in (0.0, 1.0):
        assert share == skill


def test_a_repeated_question_gets_the_same_answer() -> None:
    assert _rights("mock?skill=0.5") == _rights("mock?skill=0.5")


@pytest.mark.parametrize(
    ("other", "mock_seed", "fields"),
    [
        ("b?skill=0.5", 0, {}),
        ("a?skill=0.5&seed=7", 0, {}),
        ("a?skill=0.5", 7, {}),
        ("a?skill=0.5", 0, {"seed": 7}),
        ("a?skill=0.5&seed=7", 0, {"seed": 7}),
    ],
    ids=["models", "seeds of scripts", "seeds of mocks", "seeds of requests", "both seeds"],
)
def test_errors_of_different_speakers_are_independent(
    other: str, mock_seed: int, fields: dict[str, int]
) -> None:
    rights = _rights("a?skill=0.5"), _rights(other, mock_seed, **fields)
    assert 0.4 < _share_of_equal(*rights) < 0.6


def test_a_request_with_another_seed_differs_also_where_the_script_has_a_seed() -> None:
    rights = [_rights("a?skill=0.5&seed=7", seed=seed) for seed in (1, 2)]
    assert 0.4 < _share_of_equal(*rights) < 0.6


def test_shared_errors_are_the_same_for_all_and_the_skill_stays() -> None:
    halves = [_rights(f"{name}?skill=0.5&shared=0.5") for name in "ab"]
    all_shared = [_rights(f"{name}?skill=0.5&shared=1") for name in "ab"]
    assert 0.65 < _share_of_equal(*halves) < 0.85
    assert all_shared[0] == all_shared[1]
    assert 0.4 < sum(halves[0]) / len(_SUMS) < 0.6


def test_the_skill_is_that_of_its_topic() -> None:
    mock = MockLLM()
    model = "mock?skill=1&topic=history&elsewhere=0"
    for question in read_sample():
        grade = grade_answer(ask_mock(mock, model, question.text), question.reference)
        if grade is not None:
            assert (grade.name == "right") == (question.topic == "history"), question.id


def test_every_question_of_the_sample_has_right_and_wrong_answers_that_are_graded_so() -> None:
    for question in read_sample():
        known = find_known_answer(question.text)
        assert known is not None, question.id
        assert known.is_right(known.right)
        assert len(set(known.wrong)) > 1
        for text, name in [(known.right, "right"), *[(each, "wrong") for each in known.wrong]]:
            grade = grade_answer(text, question.reference)
            assert grade is None or grade.name == name, (question.id, text)
            assert known.is_right(text) == (name == "right"), (question.id, text)


@pytest.mark.parametrize(
    "text", ["Explain gravity.", "What is 5 / 0?", "What is 1 + 2 + 3?", "Call 555-12", ""]
)
def test_an_unknown_question_gets_the_usual_text(text: str) -> None:
    plain = ask_mock(MockLLM(), "mock", text)
    assert ask_mock(MockLLM(), "mock?skill=0.5", text).split()[:3] == plain.split()[:3]


def test_padding_makes_an_answer_longer_and_not_another() -> None:
    short, long = (ask_mock(MockLLM(), f"m?skill=1&pad={pad}", "What is 2 + 3?") for pad in (0, 3))
    assert long.endswith(short)
    assert len(long) > 3 * len(short)


@pytest.mark.parametrize("options", ["skill=1.5", "skill=x", "judge=-1", "combine=best", "pad=-1"])
def test_an_option_beyond_its_range_is_refused(options: str) -> None:
    body = {"model": f"mock?{options}", "messages": [{"role": "user", "content": "hi"}]}
    assert MockLLM().respond("POST", "/chat/completions", json.dumps(body).encode()).status == 400


# --- judges ---

_SCHEMA = '{"properties": {"reason": {}, "better": {"enum": ["A", "B", "tie"]}}}'


def _ask_judge(mock: MockLLM, model: str, question: str, *texts: str, schema: str = _SCHEMA) -> str:
    parts = [f"Question:\n{question}"]
    parts += [
        f'<candidate-9f label="{label}">\n{text}\n</candidate-9f>'
        for label, text in zip("ABC", texts, strict=False)
    ]
    return ask_mock(mock, model, "\n\n".join([*parts, f"Reply by this schema:\n{schema}"]))


def _judge_sums(options: str, right: str = "Answer: {}", wrong: str = "Answer: 1") -> list[str]:
    """Return the verdicts on a right answer that is A, then B, for each question."""
    mock = MockLLM()
    asked = [
        (question, order)
        for question, value in _SUMS[:200]
        for order in ((right.format(value), wrong), (wrong, right.format(value)))
    ]
    replies = [_ask_judge(mock, f"j?{options}", question, *order) for question, order in asked]
    return [json.loads(reply)["better"] for reply in replies]


def test_a_perfect_judge_prefers_the_right_answer_in_both_orders() -> None:
    assert _judge_sums("judge=1") == ["A", "B"] * 200


def test_the_errors_of_a_judge_do_not_depend_on_the_order() -> None:
    verdicts = _judge_sums("judge=0.8")
    assert all(a != b for a, b in list(pairwise(verdicts))[::2])
    assert 0.7 < sum(each == "A" for each in verdicts[::2]) / 200 < 0.9


def test_a_judge_can_prefer_the_first_answer() -> None:
    verdicts = _judge_sums("judge=1&prefers_first=0.5")
    assert 0.4 < sum(each == "A" for each in verdicts[1::2]) / 200 < 0.6
    assert set(verdicts[::2]) == {"A"}


def test_a_judge_can_prefer_the_longer_answer() -> None:
    verdicts = _judge_sums("judge=1&prefers_longer=1", wrong="It is very likely so.\n\nAnswer: 1")
    assert verdicts == ["B", "A"] * 200


def test_a_judge_sees_no_difference_between_two_right_or_two_wrong_answers() -> None:
    for value in (5, 6):
        verdict = _ask_judge(
            MockLLM(),
            "j?judge=0.7",
            "What is 2 + 3?",
            f"Answer: {value}",
            f"It is\nAnswer: {value}",
        )
        assert json.loads(verdict)["better"] == "tie"


def test_a_judge_can_answer_nonsense_and_then_a_verdict() -> None:
    mock, model, nonsense, repeated = MockLLM(), "j?judge=1&nonsense=0.5", 0, 0
    for question, value in _SUMS[:100]:
        first = _ask_judge(
            mock, "j?judge=1&nonsense=0.5", question, f"Answer: {value}", "Answer: 1"
        )
        if not first.startswith("{"):
            nonsense += 1
            parts = f'Question:\n{question}\n\n<candidate-9f label="A">\nx\n</candidate-9f>'
            messages = [
                {"role": "user", "content": parts},
                {"role": "assistant", "content": first},
                {"role": "user", "content": "Your reply cannot be used."},
            ]
            again = ask_mock_chat(mock, model, messages)
            repeated += not again.startswith("{")
    assert 30 < nonsense < 70
    assert 0 < repeated < nonsense


def test_a_judge_gives_points_and_rankings_where_the_schema_demands_them() -> None:
    texts = ("Answer: 6", "Answer: 5", "Answer: 7")
    question = "What is 2 + 3?"
    points = json.loads(_ask_judge(MockLLM(), "j?judge=1", question, *texts, schema='"scores"'))
    assert max(points["scores"], key=lambda label: points["scores"][label]) == "B"
    ranking = json.loads(_ask_judge(MockLLM(), "j?judge=1", question, *texts, schema='"ranking"'))
    assert ranking["ranking"][0] == "B"
    assert sorted(ranking["ranking"]) == ["A", "B", "C"]


# --- combiners ---

_SENT = (
    "Question:\nWhat is 2 + 3?\n\nAnswers of the assistants:\n\n[llm-1]\nAnswer: 6\n\n"
    "[llm-2] (cut off before it was complete)\nA long way.\n\nAnswer: 5\n\n[llm-3]\nAnswer: 5\n\n"
    "[llm-4]\nIt is clear that this must be the longest.\n\nAnswer: 7"
)


@pytest.mark.parametrize(("rule", "answer"), [("majority", "5"), ("longest", "7"), ("right", "5")])
def test_a_combiner_repeats_the_answer_of_its_rule(rule: str, answer: str) -> None:
    text = ask_mock(MockLLM(), f"mock?combine={rule}", _SENT)
    assert text.endswith(f"Answer: {answer}")


def test_a_combiner_without_a_right_answer_repeats_the_first() -> None:
    assert ask_mock(MockLLM(), "mock?combine=right", _SENT.replace("5", "8")) == "Answer: 6"


def test_an_instruction_of_another_kind_is_answered_as_usual() -> None:
    text = ask_mock(MockLLM(), "mock?combine=majority&judge=1", "Explain gravity.")
    assert "gravity" in text
