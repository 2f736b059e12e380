"""The verdicts of the judge on pairs of answers; nonsense is asked once more, then undecided."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from service.domain import Message
from service.ensembles.agents import Agent
from service.ensembles.catalog import AGENT_PREFIX
from service.evaluation.judging.question import (
    Choice,
    ask_again,
    make_judge,
    make_messages,
    read_verdict,
)
from service.evaluation.panels.request import ModelRequest
from service.evaluation.questions.question import Question
from service.evaluation.results import GivenAnswer, JudgedPair, PairVerdict
from service.evaluation.running.executor import Executor
from service.strategies.fanout import gather_together

_TRIES: Final = 2
IDENTICAL: Final = "The answers are identical."


@dataclass(frozen=True, slots=True)
class _Opinion:
    """The verdict in one order of the answers; `better` None is no usable one."""

    better: Choice | None
    reason: str
    run_ids: tuple[str, ...]


class Judge:
    """Compares two answers to a question by the calls of a judge."""

    def __init__(self, agent: Agent, executor: Executor) -> None:
        self._agent = agent
        self._ensemble = make_judge(agent)
        self._executor = executor

    async def compare(
        self, question: Question, left: GivenAnswer, right: GivenAnswer
    ) -> JudgedPair | None:
        """Return the verdicts in both orders; None if the evaluation stops before.

        Identical answers are a tie without a call.
        """
        if left.text.strip() == right.text.strip():
            return _make_pair(question, left, right, ("tie", "tie"), reason=IDENTICAL)
        first, second = await gather_together(
            [
                self._ask(question, left.text, right.text),
                self._ask(question, right.text, left.text),
            ]
        )
        if first is None or second is None:
            return None
        opinions = (first, second)
        return _make_pair(
            question,
            left,
            right,
            (_name_side(first, a="left", b="right"), _name_side(second, a="right", b="left")),
            repeated=sum(len(each.run_ids) > 1 for each in opinions),
            run_ids=tuple(run_id for each in opinions for run_id in each.run_ids),
            reason=" / ".join(each.reason for each in opinions if each.reason),
        )

    async def _ask(self, question: Question, first: str, second: str) -> _Opinion | None:
        """Return the judge's opinion with `first` as candidate A; None if it stops before."""
        messages: tuple[Message, ...] = make_messages(question, self._agent, first, second)
        run_ids: list[str] = []
        why = ""
        for _ in range(_TRIES):
            request = ModelRequest(
                name=f"{AGENT_PREFIX}{self._agent.name}",
                question_id=question.id,
                messages=messages,
                ensemble=self._ensemble,
            )
            result = await self._executor.execute(request)
            if result is None:
                return None
            run_ids += [result.run_id] if result.run_id else []
            if not result.is_answered:
                return _Opinion(None, result.error, tuple(run_ids))
            try:
                better, reason = read_verdict(result.text)
            except ValueError as error:
                why = str(error).rstrip(".")
                messages = ask_again(messages, result.text, why)
            else:
                return _Opinion(better, reason, tuple(run_ids))
        return _Opinion(None, f"No usable verdict: {why}.", tuple(run_ids))


def _name_side(opinion: _Opinion, *, a: PairVerdict, b: PairVerdict) -> PairVerdict:
    """Return the verdict of an opinion in which `a` was candidate A, and `b` was candidate B."""
    sides: dict[Choice, PairVerdict] = {"A": a, "B": b, "tie": "tie"}
    return "undecided" if opinion.better is None else sides[opinion.better]


def _make_pair(
    question: Question,
    left: GivenAnswer,
    right: GivenAnswer,
    verdicts: tuple[PairVerdict, PairVerdict],
    *,
    repeated: int = 0,
    run_ids: tuple[str, ...] = (),
    reason: str = "",
) -> JudgedPair:
    return JudgedPair(
        question_id=question.id,
        left=left.contestant,
        right=right.contestant,
        verdicts=verdicts,
        repeated=repeated,
        run_ids=run_ids,
        reason=reason,
    )
