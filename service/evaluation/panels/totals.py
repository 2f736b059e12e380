"""The cost, tokens and times of a complete strategy, from the runs that made its answer.

A shared answer counts for each contestant that uses it, as if it had been asked alone. The first
agents answer at the same time, so that their wait is that for the slowest one; a strategy that
cuts off stragglers would wait less.
"""

from __future__ import annotations

from collections.abc import Sequence

from service.evaluation.grading.grade import grade_answer
from service.evaluation.panels.run_result import RunResult
from service.evaluation.panels.sharing import SharedAnswers
from service.evaluation.questions.question import Question
from service.evaluation.results import GivenAnswer


def make_single_answer(question: Question, contestant: str, result: RunResult) -> GivenAnswer:
    """Return the answer of an agent that was asked alone."""
    run, writer = result.run, result.writer
    return GivenAnswer(
        question_id=question.id,
        contestant=contestant,
        run_id=result.run_id,
        text=result.text if result.is_answered else "",
        model=writer.model if writer else "",
        grade=grade_answer(result.text, question.reference) if result.is_answered else None,
        cost_usd=result.cost_usd,
        input_tokens=run.usage.input_tokens if run else 0,
        output_tokens=run.usage.output_tokens if run else 0,
        first_token_ms=writer.first_token_ms if writer else None,
        total_ms=writer.elapsed_ms if writer else None,
        error=result.error,
    )


def make_failed_answer(question: Question, contestant: str, error: str) -> GivenAnswer:
    """Return the missing answer of a contestant."""
    return GivenAnswer(
        question_id=question.id, contestant=contestant, run_id="", text="", error=error
    )


def make_shared_answer(
    question: Question, contestant: str, shared: SharedAnswers, result: RunResult
) -> GivenAnswer:
    """Return the answer of a strategy, with the amounts of the answers that it shares."""
    first = [shared.results[each.name] for each in shared.ensemble.layers[0]]
    runs = [each.run for each in (*first, result) if each.run]
    writer, is_direct = result.writer, result in first
    if is_direct:
        runs = runs[:-1]
    wait_ms = 0.0 if is_direct else max((_get_elapsed_ms(each) for each in first), default=0.0)
    answer = make_single_answer(question, contestant, result)
    own_ms = _get_elapsed_ms(result) if is_direct else (result.run and result.run.elapsed_ms) or 0.0
    first_ms = own_ms
    if writer is not None and not writer.reused and writer.first_token_ms is not None:
        first_ms = own_ms - writer.elapsed_ms + writer.first_token_ms
    return GivenAnswer(
        question_id=question.id,
        contestant=contestant,
        run_id=answer.run_id,
        text=answer.text,
        model=answer.model,
        grade=answer.grade,
        cost_usd=_add_all([run.cost_usd for run in runs if run.usage.total_tokens]),
        input_tokens=sum(run.usage.input_tokens for run in runs),
        output_tokens=sum(run.usage.output_tokens for run in runs),
        first_token_ms=wait_ms + max(0.0, first_ms) if answer.text else None,
        total_ms=wait_ms + own_ms,
        error=answer.error,
    )


def _get_elapsed_ms(result: RunResult) -> float:
    writer = result.writer
    return writer.elapsed_ms if writer else (result.run and result.run.elapsed_ms) or 0.0


def _add_all(costs: Sequence[float | None]) -> float | None:
    """Return the sum; None if one of them is not known, because the sum would be too small."""
    known = [each for each in costs if each is not None]
    return sum(known) if len(known) == len(costs) else None
