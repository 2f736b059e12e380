"""Reports of complete, partial and hostile evaluations."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import cache
from typing import Any
from xml.etree import ElementTree

import pytest
from markdown_it import MarkdownIt

from service.evaluation.questions.sample import read_sample
from service.evaluation.reports.document import write_json
from service.evaluation.reports.markdown import write_markdown
from service.evaluation.reports.plot import write_svg
from service.evaluation.reports.standings import make_standings
from service.evaluation.reports.terminal import write_terminal_report
from service.evaluation.results import Contestant, Evaluation, Grade, JudgedPair, StopReason
from tests._support.evaluation.mock_evaluations import MockEnsemble, evaluate_mock

_SVG = "{http://www.w3.org/2000/svg}"
_HOSTILE = (
    "\x1b[31mred\x1b]8;;http://evil\x07 \u202eesrever\u2066 | a | <script>alert(1)</script> "
    "[link](http://evil.example) https://evil.example ![x](http://evil/x.png) `code` &amp; *b* "
    "\r\n\n# A heading\n| x | y |\n\u2028--- \ud800 \0 ]]> \"quoted\" 'single' $$x$$"
)


@cache
def _evaluate() -> Evaluation:
    """Return an evaluation of two ensembles with all amounts, and some verdicts of a judge."""
    members = ["a?skill=0.2", "b?skill=0.5", "c?skill=0.3", "d?skill=0.3"]
    ensembles = [
        MockEnsemble("strong", members, "mock?combine=right"),
        MockEnsemble("plain", members),
    ]
    evaluation = evaluate_mock(read_sample(), ensembles, 3)
    answers = [
        replace(
            each,
            cost_usd=0.003 if each.contestant == "strong" else 0.001,
            input_tokens=20,
            output_tokens=30,
            first_token_ms=100.0 + at,
            total_ms=1000.0 + at,
        )
        for at, each in enumerate(evaluation.answers)
    ]
    judged = [each.id for each in evaluation.questions if each.is_judged]
    pairs = [
        JudgedPair(
            question_id=judged[0],
            left="strong",
            right="agent/b?skill=0.5",
            verdicts=("left", "left"),
            repeated=1,
        ),
        JudgedPair(
            question_id=judged[1],
            left="agent/b?skill=0.5",
            right="strong",
            verdicts=("undecided", "left"),
        ),
    ]
    inputs = replace(evaluation.inputs, judge="agent/judge", judge_model="mock?judge=1")
    return replace(
        evaluation,
        inputs=inputs,
        answers=tuple(answers),
        pairs=tuple(pairs),
        spent_usd=0.25,
        sent=120,
        reused=40,
        notes=("All strategies use the same answers of their members.",),
    )


def _load(evaluation: Evaluation) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(write_json(evaluation))
    return document


def test_a_contestant_has_its_right_answers_amounts_and_times() -> None:
    standings = {each.contestant.name: each for each in make_standings(_evaluate())}
    strong = standings["strong"]
    assert strong.right.total == 36
    assert strong.judged == 4
    assert strong.mean_cost_usd == pytest.approx(0.003)
    assert strong.total_cost_usd == pytest.approx(0.12)
    assert strong.mean_tokens == 50
    assert strong.first_token_ms.p50 is not None
    assert strong.first_token_ms.p95 is not None
    assert strong.first_token_ms.p50 < strong.first_token_ms.p95


def test_the_cost_of_a_contestant_is_unknown_if_that_of_an_answer_is() -> None:
    evaluation = _evaluate()
    first = replace(evaluation.answers[0], cost_usd=None)
    standings = make_standings(replace(evaluation, answers=(first, *evaluation.answers[1:])))
    unknown = [each.contestant.name for each in standings if each.mean_cost_usd is None]
    assert unknown == [first.contestant]


def test_a_missing_and_an_undecided_answer_are_not_right_and_are_counted() -> None:
    evaluation = _evaluate()
    graded = [each for each in evaluation.answers if each.contestant == "plain" and each.grade]
    changed = {
        graded[0].question_id: replace(graded[0], error="The model failed.", text=""),
        graded[1].question_id: replace(graded[1], grade=Grade("undecided", "Several numbers.")),
    }
    answers = [
        changed.get(each.question_id, each) if each.contestant == "plain" else each
        for each in evaluation.answers
    ]
    standings = make_standings(replace(evaluation, answers=tuple(answers)))
    plain = next(each for each in standings if each.contestant.name == "plain")
    assert (plain.failed, plain.undecided, plain.right.total) == (1, 1, 36)


def test_the_verdict_is_a_sentence_with_its_interval_and_its_cost() -> None:
    text = write_terminal_report(_evaluate(), 400)
    sentence = next(line for line in text.splitlines() if line.startswith("strong is better than"))
    assert "its best member, agent/b?skill=0.5" in sentence
    assert re.search(r"\+\d+ \(\+\d+ to \+\d+\) points, \d+ wins, \d+ ties, \d+ losses", sentence)
    assert "1 undecided" in sentence
    assert "at 3.0 times the cost" in sentence
    assert "plain shows no difference" in text or "plain is worse" in text


def test_every_form_has_the_contestants_and_the_frozen_inputs() -> None:
    evaluation = _evaluate()
    for text in (write_terminal_report(evaluation, 200), write_markdown(evaluation)):
        for part in (
            evaluation.inputs.questions_hash,
            evaluation.inputs.ensembles_hash,
            "120 sent",
        ):
            assert part in text
    document = _load(evaluation)
    assert document["inputs"]["questions_hash"] == evaluation.inputs.questions_hash
    assert document["requests"] == {"sent": 120, "reused": 40}
    assert [each["name"] for each in document["contestants"]][:2] == ["strong", "plain"]


def test_the_json_report_states_the_same_as_the_tables() -> None:
    document = _load(_evaluate())
    assert document["schema"] == 1
    row = document["comparisons"]["best_member"][0]
    outcomes = [each["outcome"] for each in row["meetings"]]
    assert outcomes.count("win") == row["wins"]
    assert outcomes.count("loss") == row["losses"]
    assert outcomes.count("tie") == row["ties"]
    assert outcomes.count("undecided") == row["undecided"] == 1
    assert row["low"] <= row["difference"] <= row["high"]
    assert row["verdict"] == "better"
    assert row["meetings"][0]["run_ids"][0].startswith("run-strong-")
    assert document["judge"]["repeated"] == 1
    assert document["judge"]["undecided"] == 1
    assert len(document["answers"]) == len(_evaluate().answers)


def test_losses_and_ties_are_listed_with_both_answers_and_runs() -> None:
    text = write_markdown(_evaluate())
    part = text.partition("Losses and ties of plain")[2].partition("\n## ")[0]
    losses = [line for line in part.splitlines() if line.startswith("| loss")]
    row = _load(_evaluate())["comparisons"]["best_member"][1]
    assert len(losses) == min(20, row["losses"])
    for line in losses:
        assert "run-plain-" in line
        assert "run-agent/" in line
    assert "Ties: " in part


@pytest.mark.parametrize("reason", ["interrupted", "budget", "failed"])
def test_a_partial_evaluation_says_so_first(reason: StopReason) -> None:
    partial = replace(_evaluate(), stopped=reason, answers=_evaluate().answers[:9], pairs=())
    first = write_terminal_report(partial, 200).splitlines()[1]
    assert first.endswith("these are the results so far.")
    assert _load(partial)["stopped"] == reason
    assert "The judge" not in write_markdown(partial)


def test_an_evaluation_without_any_answer_has_a_report() -> None:
    nothing = replace(_evaluate(), answers=(), pairs=(), spent_usd=None)
    assert "There is no answer yet." in write_terminal_report(nothing)
    assert "There is no answer yet." in write_markdown(nothing)
    assert _load(nothing)["contestants"] == []
    assert "No question has a grade." in write_svg(nothing)
    empty = replace(nothing, contestants=(), questions=())
    assert _load(empty)["comparisons"]["best_member"] == []


# --- texts of models are hostile ---


@cache
def _evaluate_hostile() -> Evaluation:
    evaluation = _evaluate()
    name = f"agent/{_HOSTILE}"
    old = "agent/b?skill=0.5"

    def rename(contestant: str) -> str:
        return name if contestant == old else contestant

    contestants = [
        replace(each, name=rename(each.name), members=tuple(map(rename, each.members)))
        for each in evaluation.contestants
    ]
    questions = [replace(each, text=f"{_HOSTILE} {each.text}") for each in evaluation.questions]
    answers = [
        replace(each, contestant=rename(each.contestant), text=_HOSTILE)
        for each in evaluation.answers
    ]
    return replace(
        evaluation,
        contestants=tuple(contestants),
        questions=tuple(questions),
        answers=tuple(answers),
        notes=(_HOSTILE,),
        inputs=replace(evaluation.inputs, judge=_HOSTILE, questions_file=_HOSTILE),
    )


def test_a_terminal_receives_no_control_and_no_direction_characters() -> None:
    text = write_terminal_report(_evaluate_hostile(), 150)
    assert not re.search(
        r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069]", text
    )
    assert "esrever" in text


def test_markdown_shows_hostile_text_as_text() -> None:
    page = MarkdownIt("gfm-like", {"html": True, "linkify": False}).parse(
        write_markdown(_evaluate_hostile())
    )
    inline = [child for token in page for child in token.children or ()]
    assert {child.type for child in inline} <= {"text", "text_special"}
    assert not [token for token in page if "html" in token.type or "fence" in token.type]
    titles = [token for token in page if token.type == "heading_open"]
    assert len(titles) == write_markdown(_evaluate()).count("\n## ") + 1
    assert not re.search(r"(?<!\\)\]\(|https?://", write_markdown(_evaluate_hostile()))


def test_the_json_report_keeps_hostile_texts_as_they_are() -> None:
    text = write_json(_evaluate_hostile())
    assert text.isascii()
    assert json.loads(text)["answers"][0]["text"] == _HOSTILE


def test_the_plot_is_xml_with_shapes_and_text_only() -> None:
    for evaluation in (_evaluate(), _evaluate_hostile()):
        tree = ElementTree.fromstring(write_svg(evaluation))
        tags = {element.tag.removeprefix(_SVG) for element in tree.iter()}
        assert tags == {"svg", "title", "rect", "path", "text", "circle"}
        assert len(list(tree.iter(f"{_SVG}circle"))) == len(evaluation.contestants)


def test_the_plot_places_more_right_answers_higher_and_more_cost_to_the_right() -> None:
    tree = ElementTree.fromstring(write_svg(_evaluate()))
    circles = [(float(e.get("cx", "")), float(e.get("cy", ""))) for e in tree.iter(f"{_SVG}circle")]
    standings = make_standings(_evaluate())
    strong, plain = circles[:2]
    assert strong[0] > plain[0]
    assert (strong[1] < plain[1]) == (standings[0].right.count > standings[1].right.count)


def test_an_equal_cost_contestant_is_in_every_form() -> None:
    evaluation = _evaluate()
    equal = Contestant(
        name="agent/b x3 for strong",
        kind="equal_cost",
        members=("agent/b?skill=0.5",),
        equal_cost_to="strong",
    )
    copied = [
        replace(each, contestant=equal.name)
        for each in evaluation.answers
        if each.contestant == "agent/b?skill=0.5"
    ]
    evaluation = replace(
        evaluation,
        contestants=(*evaluation.contestants, equal),
        answers=(*evaluation.answers, *copied),
    )
    assert "the same member at equal cost, agent/b x3 for strong" in write_terminal_report(
        evaluation, 400
    )
    assert "## Against the same member at equal cost" in write_markdown(evaluation)
    assert _load(evaluation)["comparisons"]["equal_cost"][0]["opponent"] == equal.name
    assert equal.name in write_svg(evaluation)
