"""Evaluations of played models: shared answers, what is sent once, the end and the continuation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from service.evaluation.questions.question import (
    ExactReference,
    JudgedReference,
    NumericReference,
    Question,
)
from service.evaluation.running.state_file import StateError
from tests._support.evaluation.sessions import answers_of, evaluating

QUESTIONS = tuple(
    Question(id=f"q{number}", text=f"What is {number} + 1?", reference=NumericReference(number + 1))
    for number in range(6)
)
ESSAY = Question(id="essay", text="Describe the sea.", reference=JudgedReference())


def right(model: str, body: Mapping[str, Any]) -> str:
    """Answer with the right number, model `m-b` with a wrong one."""
    question = body["messages"][-1]["content"]
    number = next((each for each in range(9) if f"What is {each} + 1?" in question), 0)
    return f"From {model}: the answer is {number + (5 if model == 'm-b' else 1)}."


async def test_every_contestant_answers_and_is_graded(tmp_path: Path) -> None:
    async with evaluating(tmp_path, right) as here:
        outcome = await here.evaluate(QUESTIONS, ["fanout", "vote", "solo"])
    names = [each.name for each in outcome.evaluation.contestants]
    assert names == ["fanout", "vote", "solo", "agent/a", "agent/b", "agent/c"]
    grades = Counter(
        (each.contestant, each.grade.name) for each in outcome.evaluation.answers if each.grade
    )
    assert grades == {
        **{(name, "right"): 6 for name in names if name != "agent/b"},
        ("agent/b", "wrong"): 6,
    }
    assert outcome.evaluation.stopped is None
    assert outcome.message == ""


async def test_an_agent_answers_once_and_all_strategies_receive_the_same_bytes(
    tmp_path: Path,
) -> None:
    async with evaluating(tmp_path, _judging(right)) as here:
        ensembles = ["fanout", "vote", "solo", "race", "layers", "council"]
        outcome = await here.evaluate(QUESTIONS[:1], ensembles)
        asked = Counter(here.models.asked_models)
        # One answer each; c once more in the second layer; three reviews of the council.
        assert asked == {"m-a": 2, "m-b": 2, "m-c": 3, "m-combine": 3}
        store = here.services.store.runs
        panel = {
            name: (await store.get("anonymous", answers_of(outcome, f"agent/{name}")[0].run_id))
            for name in "abc"
        }
        for ensemble in ("fanout", "vote", "layers", "council"):
            (answer,) = answers_of(outcome, ensemble)
            reports = await store.list_agent_answers("anonymous", answer.run_id)
            reused = {each.agent: each.report.text for each in reports if each.report.reused}
            assert reused
            for name, text in reused.items():
                run = panel[name]
                assert run is not None
                assert text.encode() == run.answer.encode()
        assert answers_of(outcome, "solo")[0].run_id == answers_of(outcome, "agent/a")[0].run_id


async def test_a_repeated_agent_is_one_member_with_answers_of_its_own(tmp_path: Path) -> None:
    async with evaluating(tmp_path, right) as here:
        outcome = await here.evaluate(QUESTIONS[:1], ["repeated"])
        assert [each.name for each in outcome.evaluation.contestants] == ["repeated", "agent/a"]
        assert here.models.asked_models == ["m-a"] * 3
        assert len({each["seed"] for each in here.models.asked}) == 3


async def test_amounts_of_shared_answers_count_for_each_strategy(tmp_path: Path) -> None:
    async with evaluating(tmp_path, right) as here:
        outcome = await here.evaluate(QUESTIONS[:1], ["fanout", "vote", "solo"])
    amounts = {each.contestant: each for each in outcome.evaluation.answers}
    for name, calls in {"agent/a": 1, "solo": 1, "fanout": 3, "vote": 3}.items():
        each = amounts[name]
        assert (each.input_tokens, each.output_tokens) == (10 * calls, 10 * calls)
        assert each.cost_usd == pytest.approx(20e-6 * calls)
    assert outcome.evaluation.spent_usd == pytest.approx(80e-6)  # three agents and the combiner
    for each in outcome.evaluation.answers:
        assert each.first_token_ms is not None
        assert each.total_ms is not None
        assert 0 <= each.first_token_ms <= each.total_ms


@pytest.mark.parametrize("is_same_folder", [True, False])
async def test_a_second_start_sends_no_request_and_has_the_same_results(
    tmp_path: Path, is_same_folder: bool
) -> None:
    play = _judging(right)
    questions, ensembles = (*QUESTIONS, ESSAY), ["fanout", "vote", "council"]
    changes = {"judge": "judge", "has_equal_cost": True}
    async with evaluating(tmp_path, play) as here:
        first = await here.evaluate(questions, ensembles, **changes)
        assert first.evaluation.sent == len(here.models.asked)
    async with evaluating(tmp_path, play) as here:
        folder = "out" if is_same_folder else "another"
        again = await here.evaluate(questions, ensembles, folder=tmp_path / folder, **changes)
        assert here.models.asked == []
    assert again.evaluation.answers == first.evaluation.answers
    assert again.evaluation.pairs == first.evaluation.pairs
    assert again.evaluation.contestants == first.evaluation.contestants


async def test_a_fresh_evaluation_asks_again_and_continues_where_it_stopped(
    tmp_path: Path,
) -> None:
    async with evaluating(tmp_path, right) as here:
        await here.evaluate(QUESTIONS, ["solo"])
        here.models.on_request = lambda: here.halt.stop("interrupted", "Stopped by the test.")
        stopped = await here.evaluate(QUESTIONS, ["solo"], is_fresh=True, concurrency=1)
        assert stopped.evaluation.stopped == "interrupted"
        here.models.on_request = lambda: None
        await here.evaluate(QUESTIONS, ["solo"], is_fresh=True)
        assert Counter(each["messages"][-1]["content"] for each in here.models.asked) == {
            each.text: 2 for each in QUESTIONS
        }


async def test_an_evaluation_that_stopped_has_its_results_and_continues(tmp_path: Path) -> None:
    async with evaluating(tmp_path, right) as here:

        def stop_after_five() -> None:
            if len(here.models.asked) == 5:
                here.halt.stop("interrupted", "Stopped by the test.")

        here.models.on_request = stop_after_five
        stopped = await here.evaluate(QUESTIONS, ["fanout"], concurrency=1)
        assert (stopped.evaluation.stopped, stopped.message) == (
            "interrupted",
            "Stopped by the test.",
        )
        assert len(here.models.asked) == 5
        assert len(answers_of(stopped, "fanout")) == 1
    async with evaluating(tmp_path, right) as here:
        complete = await here.evaluate(QUESTIONS, ["fanout"])
        assert len(here.models.asked) == 3 * len(QUESTIONS) - 5
        assert len(answers_of(complete, "fanout")) == len(QUESTIONS)
        assert complete.evaluation.sent == 3 * len(QUESTIONS)
        assert complete.evaluation.inputs.started_at == stopped.evaluation.inputs.started_at


async def test_other_inputs_are_refused_and_the_difference_is_named(tmp_path: Path) -> None:
    async with evaluating(tmp_path, right) as here:
        await here.evaluate(QUESTIONS[:1], ["solo"])
        asked = len(here.models.asked)
        with pytest.raises(StateError, match=r"questions was .* and is"):
            await here.evaluate(QUESTIONS[:2], ["solo"])
        with pytest.raises(StateError, match="ensembles differ in vote, solo"):
            await here.evaluate(QUESTIONS[:1], ["vote"])
        with pytest.raises(StateError, match="seed was 0 and is 7"):
            await here.evaluate(QUESTIONS[:1], ["solo"], seed=7)
        assert len(here.models.asked) == asked
    changed = (tmp_path / "ensembles.toml").read_text() + "\n[agents.a]\ntemperature = 0.3\n"
    async with evaluating(tmp_path, right, ensembles=changed) as here:
        with pytest.raises(StateError, match="ensembles differ in solo; members differ in agent/a"):
            await here.evaluate(QUESTIONS[:1], ["solo"])
        outcome = await here.evaluate(QUESTIONS[:1], ["solo"], folder=tmp_path / "other")
        assert outcome.evaluation.sent == len(here.models.asked) == 1


async def test_without_a_folder_other_inputs_have_another_one(tmp_path: Path) -> None:
    async with evaluating(tmp_path, right) as here:
        outcomes = [
            await here.evaluate(QUESTIONS[:count], ["solo"], folder=tmp_path / str(count))
            for count in (1, 2)
        ]
        assert [each.evaluation.sent for each in outcomes] == [1, 1]
        assert [each.evaluation.reused for each in outcomes] == [0, 1]


async def test_answers_that_failed_in_an_outage_are_asked_again(tmp_path: Path) -> None:
    def fail(model: str, body: Mapping[str, Any]) -> str | int:
        return 503 if model == "m-b" else right(model, body)

    async with evaluating(tmp_path, fail) as here:
        failed = await here.evaluate(QUESTIONS[:2], ["fanout", "vote"])
        assert failed.unanswered == 2
        assert all(each.error for each in answers_of(failed, "agent/b"))
        assert all(each.text for each in answers_of(failed, "fanout"))
        assert any(
            "agent/b has no answer to 2 questions" in each for each in failed.evaluation.notes
        )
    async with evaluating(tmp_path, right) as here:
        repaired = await here.evaluate(QUESTIONS[:2], ["fanout", "vote"])
        assert repaired.unanswered == 0
        # b itself, and the combiner with b's answer; the other agents are not asked again.
        assert Counter(here.models.asked_models) == {"m-b": 2, "m-combine": 2}


async def test_a_refusal_is_a_result_and_is_not_asked_again(tmp_path: Path) -> None:
    def refuse(model: str, body: Mapping[str, Any]) -> str | int:
        return 400 if model == "m-b" else right(model, body)

    async with evaluating(tmp_path, refuse) as here:
        first = await here.evaluate(QUESTIONS[:1], ["vote"])
        asked = len(here.models.asked)
        assert first.unanswered == 0
        again = await here.evaluate(QUESTIONS[:1], ["vote"])
        assert len(here.models.asked) == asked
        assert again.evaluation.answers == first.evaluation.answers


async def test_an_ensemble_with_too_few_answers_states_the_reasons(tmp_path: Path) -> None:
    async with evaluating(tmp_path, lambda *_: 500) as here:
        outcome = await here.evaluate(QUESTIONS[:1], ["fanout", "solo"])
    assert "0 of 2 agents answered, 1 needed. a: " in answers_of(outcome, "fanout")[0].error
    assert answers_of(outcome, "solo")[0].error


async def test_a_budget_stops_before_it_is_exceeded_and_more_money_continues(
    tmp_path: Path,
) -> None:
    async with evaluating(tmp_path, right) as here:
        budget = 400e-6
        stopped = await here.evaluate(QUESTIONS, ["fanout"], max_cost_usd=budget)
        assert stopped.evaluation.stopped == "budget"
        spent = stopped.evaluation.spent_usd
        assert spent is not None
        assert 0 < spent <= budget
        assert answers_of(stopped, "agent/a")
        asked = len(here.models.asked)
        assert spent == pytest.approx(asked * 20e-6)
        again = await here.evaluate(QUESTIONS, ["fanout"], max_cost_usd=budget)
        assert again.evaluation.stopped == "budget"
        complete = await here.evaluate(QUESTIONS, ["fanout"], max_cost_usd=1.0)
        assert complete.evaluation.stopped is None
        assert len(here.models.asked) == 3 * len(QUESTIONS)
        assert complete.evaluation.spent_usd == pytest.approx(3 * len(QUESTIONS) * 20e-6)


async def test_a_budget_below_the_first_answer_sends_nothing(tmp_path: Path) -> None:
    async with evaluating(tmp_path, right) as here:
        outcome = await here.evaluate(QUESTIONS, ["fanout"], max_cost_usd=1e-9)
        assert outcome.evaluation.stopped == "budget"
        assert here.models.asked == []


async def test_a_limit_of_the_service_stops_the_evaluation(tmp_path: Path) -> None:
    (tmp_path / "limits.toml").write_text('[[rules]]\nname = "small"\ntokens = "200/day"\n')
    async with evaluating(tmp_path, right) as here:
        outcome = await here.evaluate(QUESTIONS, ["fanout"])
    assert outcome.evaluation.stopped == "budget", outcome.message
    assert "small" in outcome.message


async def test_the_member_at_equal_cost_is_the_best_one_and_has_as_many_samples(
    tmp_path: Path,
) -> None:
    async with evaluating(tmp_path, right) as here:
        outcome = await here.evaluate(QUESTIONS, ["fanout", "solo"], has_equal_cost=True)
        samples = [each for each in here.models.asked if each.get("seed") is not None]
        assert Counter(each["model"] for each in samples) == {"m-a": 3 * len(QUESTIONS)}
    (contestant,) = [each for each in outcome.evaluation.contestants if each.kind == "equal_cost"]
    assert contestant.equal_cost_to == "fanout"
    assert contestant.members == ("agent/a",)
    answers = answers_of(outcome, contestant.name)
    assert [each.cost_usd for each in answers] == [pytest.approx(60e-6)] * len(QUESTIONS)
    assert any("3.0 times the cost of agent/a" in each for each in outcome.evaluation.notes)


async def test_every_answer_and_verdict_is_a_stored_run(tmp_path: Path) -> None:
    async with evaluating(tmp_path, _judging(right)) as here:
        outcome = await here.evaluate([QUESTIONS[0], ESSAY], ["fanout", "vote"], judge="judge")
        store = here.services.store.runs
        ids = {each.run_id for each in outcome.evaluation.answers}
        ids |= {run_id for each in outcome.evaluation.pairs for run_id in each.run_ids}
        for run_id in ids:
            run = await store.get("anonymous", run_id)
            assert run is not None
            assert run.state == "completed"
            assert run.message_id.startswith("evaluation-")


async def test_ids_and_texts_of_any_kind_are_evaluated(tmp_path: Path) -> None:
    questions = [
        replace(ESSAY, id="ü/" + "x" * 90, text="'; DROP TABLE runs; -- 🌊", topic="a\u202eb"),
        Question(id='quo"te', text="{}" * 500, reference=ExactReference(("x",))),
    ]
    async with evaluating(tmp_path, _judging(lambda *_: "\x1b[31m<b>x</b>")) as here:
        outcome = await here.evaluate(questions, ["fanout"], judge="judge")
    assert len(answers_of(outcome, "fanout")) == 2


async def test_progress_counts_every_question_once(tmp_path: Path) -> None:
    async with evaluating(tmp_path, right) as here:
        await here.evaluate(QUESTIONS, ["vote"])
        assert [each.done for each in here.progress] == list(range(len(QUESTIONS) + 1))
        assert here.progress[-1].planned == len(QUESTIONS)
        assert here.progress[-1].sent == len(here.models.asked)


def _judging(answer: Any) -> Any:
    """Return models as `answer`, with a judge that prefers the first candidate."""

    def play(model: str, body: Mapping[str, Any]) -> str | int:
        if model == "m-judge":
            return '{"reason": "It is first.", "better": "A"}'
        if model in ("m-a", "m-b", "m-c") and "Rank all candidates" in str(body["messages"]):
            return '{"ranking": ["A", "B"], "reason": "x"}'
        found: str | int = answer(model, body)
        return found

    return play
