"""The judge: both orders, nonsense, a failing model, identical answers, hostile answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from service.evaluation.judging.question import read_verdict
from service.evaluation.questions.question import JudgedReference, Question
from service.evaluation.results import JudgedPair
from tests._support.evaluation.sessions import Evaluator, evaluating

QUESTION = Question(
    id="sea", text="Describe the sea.", reference=JudgedReference("It is salty water.")
)
Verdict = Callable[[str, int], str | int]


def play(verdict: Verdict) -> Callable[[str, Mapping[str, Any]], str | int]:
    """Return agents that give answers of their own, and a judge that `verdict` plays.

    It receives the text of the request, and how often it was asked this question.
    """
    times: dict[str, int] = {}

    def answer(model: str, body: Mapping[str, Any]) -> str | int:
        if model != "m-judge":
            return f"An answer of {model}."
        text = body["messages"][0]["content"]
        times[text] = times.get(text, 0) + 1
        return verdict(text, times[text])

    return answer


def prefer(model: str) -> Verdict:
    """Return a judge that prefers an answer wherever it is."""

    def verdict(text: str, _: int) -> str:
        is_first = text.index(f"of {model}.") < text.index("of m-", text.index("of m-") + 1)
        return json.dumps({"reason": "It is right.", "better": "A" if is_first else "B"})

    return verdict


async def judge(here: Evaluator) -> JudgedPair:
    """Return the only pair: of the agents a and b."""
    outcome = await here.evaluate([QUESTION], ["race"], judge="judge")
    (pair,) = [
        each
        for each in outcome.evaluation.pairs
        if (each.left, each.right) == ("agent/a", "agent/b")
    ]
    return pair


@pytest.mark.parametrize(("model", "outcome"), [("m-a", "left"), ("m-b", "right")])
async def test_a_preference_in_both_orders_is_the_verdict(
    tmp_path: Path, model: str, outcome: str
) -> None:
    async with evaluating(tmp_path, play(prefer(model))) as here:
        pair = await judge(here)
    assert pair.verdicts == (outcome, outcome)
    assert pair.outcome == outcome
    assert pair.repeated == 0
    assert len(pair.run_ids) == 2
    assert "It is right." in pair.reason


@pytest.mark.parametrize("choice", ["A", "B"])
async def test_a_preference_for_a_position_is_a_tie(tmp_path: Path, choice: str) -> None:
    async with evaluating(tmp_path, play(lambda *_: json.dumps({"better": choice}))) as here:
        pair = await judge(here)
    assert set(pair.verdicts) == {"left", "right"}
    assert pair.outcome == "tie"


async def test_nonsense_is_asked_once_more(tmp_path: Path) -> None:
    def verdict(text: str, times: int) -> str | int:
        return "Hm, I like both." if times == 1 else prefer("m-a")(text, times)

    async with evaluating(tmp_path, play(verdict)) as here:
        pair = await judge(here)
        again = [each for each in here.models.asked if len(each["messages"]) == 3]
    assert (pair.outcome, pair.repeated, len(pair.run_ids)) == ("left", 2, 4)
    assert again[0]["messages"][1]["content"] == "Hm, I like both."
    assert "cannot be used" in again[0]["messages"][2]["content"]


@pytest.mark.parametrize(
    "nonsense", ["Both are fine.", '{"better": "C"}', '{"better": 1}', "[]", '{"winner": "A"}', "{"]
)
async def test_nonsense_twice_is_undecided_and_not_asked_a_third_time(
    tmp_path: Path, nonsense: str
) -> None:
    async with evaluating(tmp_path, play(lambda *_: nonsense)) as here:
        pair = await judge(here)
        assert here.models.asked_models.count("m-judge") == 4
        assert (await judge(here)) == pair
        assert here.models.asked_models.count("m-judge") == 4
    assert pair.verdicts == ("undecided", "undecided")
    assert pair.outcome == "undecided"
    assert pair.repeated == 2
    assert "No usable verdict" in pair.reason


async def test_a_judge_that_fails_is_undecided_and_asked_again_later(tmp_path: Path) -> None:
    async with evaluating(tmp_path, play(lambda *_: 503)) as here:
        pair = await judge(here)
        assert pair.outcome == "undecided"
    async with evaluating(tmp_path, play(prefer("m-b"))) as here:
        assert (await judge(here)).outcome == "right"


async def test_identical_answers_tie_without_a_call(tmp_path: Path) -> None:
    async with evaluating(tmp_path, lambda *_: "The same.") as here:
        pair = await judge(here)
        assert "m-judge" not in here.models.asked_models
    assert pair.outcome == "tie"
    assert pair.run_ids == ()


async def test_the_judge_sees_the_reference_and_no_names(tmp_path: Path) -> None:
    async with evaluating(tmp_path, play(prefer("m-a"))) as here:
        await judge(here)
        asked = [each for each in here.models.asked if each["model"] == "m-judge"]
    for each in asked:
        text = json.dumps(each["messages"])
        assert "It is salty water." in text
        assert "agent/" not in text
        assert each["temperature"] == 0
        assert "better" in json.dumps(each["response_format"])


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ('{"better": "A"}', "A"),
        ('```json\n{"reason": "r", "better": "b"}\n```', "B"),
        ('I think so. {"better": " Tie "}', "tie"),
        ('{"better": "A"} and then {"better": "B"}', "B"),
    ],
)
def test_a_verdict_is_read_from_what_models_write(text: str, choice: str) -> None:
    assert read_verdict(text)[0] == choice
