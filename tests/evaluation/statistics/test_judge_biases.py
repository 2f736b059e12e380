"""Measured biases of judges."""

from __future__ import annotations

from dataclasses import replace

from service.ensembles.model_families import name_family
from service.evaluation.questions.question import JudgedReference, Question
from service.evaluation.results import Evaluation, GivenAnswer, JudgedPair, PairVerdict
from service.evaluation.statistics.judge_biases import JudgeBiases, Share, measure_biases
from tests._support.evaluation.mock_evaluations import INPUTS

_Verdicts = tuple[PairVerdict, PairVerdict]
_LEFT: _Verdicts = ("left", "left")
_RIGHT: _Verdicts = ("right", "right")
_FIRST: _Verdicts = ("left", "right")
_SECOND: _Verdicts = ("right", "left")


def _measure(
    verdicts: list[_Verdicts],
    left: tuple[str, str] = ("a short text", "gpt-4o"),
    right: tuple[str, str] = ("a text that is much longer than it", "claude-sonnet"),
    repeated: int = 0,
) -> JudgeBiases:
    """Return the biases of a judge of OpenAI; `left` and `right` are texts and models."""
    questions = [
        Question(id=str(n), text=f"{n}?", reference=JudgedReference()) for n in range(len(verdicts))
    ]
    answers = [
        GivenAnswer(question_id=each.id, contestant=name, run_id="r", text=text, model=model)
        for each in questions
        for name, (text, model) in (("l", left), ("r", right))
    ]
    pairs = [
        JudgedPair(question_id=each.id, left="l", right="r", verdicts=given, repeated=repeated)
        for each, given in zip(questions, verdicts, strict=True)
    ]
    return measure_biases(
        Evaluation(
            inputs=replace(INPUTS, judge="agent/judge", judge_model="gpt-4o-mini"),
            questions=tuple(questions),
            contestants=(),
            answers=tuple(answers),
            pairs=tuple(pairs),
        )
    )


def test_a_preference_for_length_is_measured_on_decided_pairs() -> None:
    biases = _measure([*[_RIGHT] * 9, _LEFT, ("tie", "tie")])
    assert biases.longer_won == Share(9, 10)
    assert biases.longer_won.is_biased


def test_texts_of_similar_length_do_not_count() -> None:
    biases = _measure([_LEFT] * 9, left=("abcdefgh", "m"), right=("abcdefghi", "m"))
    assert biases.longer_won == Share(0, 0)
    assert biases.longer_won.value is None
    assert not biases.longer_won.is_biased


def test_a_preference_for_a_position_is_measured_on_opposed_verdicts() -> None:
    biases = _measure([*[_FIRST] * 6, _SECOND, *[_LEFT] * 2, ("left", "tie")])
    assert biases.orders_differ == Share(8, 10)
    assert biases.first_won == Share(6, 7)


def test_a_preference_for_the_own_family_is_measured_against_others() -> None:
    biases = _measure([_LEFT] * 7 + [_RIGHT] * 2)
    assert biases.family == "openai"
    assert biases.own_family_won == Share(7, 9)
    both = _measure([_LEFT], right=("longer text of the other", "openai/o3-mini"))
    assert both.own_family_won == Share(0, 0)


def test_undecided_pairs_and_repeated_calls_are_counted() -> None:
    biases = _measure([("left", "undecided"), ("undecided", "undecided")], repeated=2)
    assert (biases.pairs, biases.undecided, biases.repeated) == (2, 2, 4)
    assert biases.orders_differ == Share(0, 0)


def test_equal_texts_say_nothing_about_the_judge() -> None:
    biases = _measure([("tie", "tie")] * 5, left=("same", "a"), right=(" same\n", "b"))
    assert biases.orders_differ == Share(0, 0)


def test_families_are_the_makers_of_models() -> None:
    names = {
        "gpt-4o": "openai",
        "openai/o3-mini": "openai",
        "ft:gpt-4o-mini:org": "openai",
        "anthropic/claude-sonnet-4": "anthropic",
        "meta-llama/Llama-3.3-70B-Instruct": "meta",
        "mixtral-8x7b": "mistral",
        "qwen2.5-coder": "qwen",
        "mock-a?skill=0.6": "mock",
        "smollm2:135m": "smollm",
        "01-ai": "01-ai",
        "": "",
    }
    assert {model: name_family(model) for model in names} == names
