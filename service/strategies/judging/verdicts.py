"""The judgements that strategies ask for: scores, a choice, a ranking, agreement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from service.domain import RunRequest
from service.ensembles.catalog import Agent
from service.strategies.base import AgentResult, Emit, Kit, PlannedCalls, plan_readers
from service.strategies.judging.candidates import Candidates
from service.strategies.judging.json_call import JsonQuestion, ask_for_json

MOST_POINTS = 10
_CLOSE_POINTS = 1.0  # a smaller difference may come from the order of the candidates


class Scores(msgspec.Struct):
    """Points of all candidates, by letter."""

    scores: dict[str, float]
    reason: str = ""


class SameAnswer(msgspec.Struct):
    """Whether all candidates give the same answer in substance."""

    agree: bool
    reason: str = ""


class Ballot(msgspec.Struct):
    """The letters of the candidates, the best first."""

    ranking: list[str]
    reason: str = ""


def name_second_call(judge: Agent) -> Agent:
    """Return the judge under the name of its call with the candidates in the other order."""
    return judge.derive(f"{judge.name}#2")


def plan_verdicts(judge: Agent | None) -> PlannedCalls:
    """Return the calls of a judge: in one order of the candidates and in the other."""
    return plan_readers(judge, judge and name_second_call(judge))


@dataclass(frozen=True, slots=True)
class Bench:
    """A judge with the run that it works for."""

    request: RunRequest
    kit: Kit
    emit: Emit
    judge: Agent

    def for_second_call(self) -> Bench:
        """Return the bench for the call with the candidates in the other order."""
        return replace(self, judge=name_second_call(self.judge))


async def score_answers(
    bench: Bench, answers: Sequence[AgentResult]
) -> Sequence[tuple[AgentResult, float]] | None:
    """Return the answers with their points, the best first; None without a usable verdict.

    When the two best are close, they are judged again in the other order: judges prefer positions.
    Source: https://arxiv.org/abs/2306.05685 (position bias)
    """
    candidates = Candidates.shuffled(answers, f"{bench.kit.run_id}/{bench.judge.name}")
    points = await _score(bench, candidates)
    if points is None:
        return None
    ranked = _rank(answers, points)
    close = [each for each, score in ranked if ranked[0][1] - score <= _CLOSE_POINTS][:2]
    if len(close) == 2:
        reverse = _reverse(candidates, close)
        again = await _score(bench.for_second_call(), reverse)
        if again is not None:
            points |= {name: (points[name] + again[name]) / 2 for name in again}
            ranked = _rank(answers, points)
    return ranked


async def find_same_answer(bench: Bench, answers: Sequence[AgentResult]) -> SameAnswer | None:
    """Return whether the answers agree in substance; None without a usable verdict."""
    candidates = Candidates.shuffled(answers, f"{bench.kit.run_id}/{bench.judge.name}")
    text = (
        f"{candidates.format(bench.request.question)}\n\nDo all candidates give the same answer to "
        "the question in substance, with no contradiction that matters to the user? Differences in "
        "wording, length and examples do not matter."
    )
    properties = {"reason": {"type": "string"}, "agree": {"type": "boolean"}}
    question = JsonQuestion(text, SameAnswer, _object(properties))
    return await ask_for_json(bench.request, bench.kit, bench.emit, bench.judge, question)


async def rank_others(bench: Bench, answers: Sequence[AgentResult]) -> Sequence[AgentResult] | None:
    """Return the answers in the order of one reviewer, the best first."""
    candidates = Candidates.shuffled(answers, f"{bench.kit.run_id}/{bench.judge.name}")
    text = (
        f"{candidates.format(bench.request.question)}\n\nRank all candidates by how correct, "
        "complete and helpful their answer to the question is, the best first."
    )
    labels = candidates.labels
    ranking = {
        "type": "array",
        "items": {"type": "string", "enum": labels},
        "minItems": len(labels),
        "maxItems": len(labels),
        "uniqueItems": True,
    }
    schema = _object({"reason": {"type": "string"}, "ranking": ranking})

    def check(ballot: Ballot) -> None:
        if sorted(_clean(ballot.ranking)) != sorted(labels):
            raise ValueError(f"ranking must have each of {', '.join(labels)} once")

    question = JsonQuestion(text, Ballot, schema, check)
    ballot = await ask_for_json(bench.request, bench.kit, bench.emit, bench.judge, question)
    if ballot is None:
        return None
    return [candidates.by_label[each] for each in _clean(ballot.ranking)]


async def _score(bench: Bench, candidates: Candidates) -> dict[str, float] | None:
    """Return the points by agent."""
    text = (
        f"{candidates.format(bench.request.question)}\n\nGive each candidate 0 to {MOST_POINTS} "
        "points for how correct, complete and helpful its answer to the question is. Length, "
        "style and the order of the candidates must not matter."
    )
    labels = candidates.labels
    point = {"type": "number", "minimum": 0, "maximum": MOST_POINTS}
    scores = _object(dict.fromkeys(labels, point))
    schema = _object({"reason": {"type": "string"}, "scores": scores})

    def check(verdict: Scores) -> None:
        given = {label.strip().upper(): each for label, each in verdict.scores.items()}
        if missing := [label for label in labels if label not in given]:
            raise ValueError(f"scores lacks {', '.join(missing)}")
        if not all(0 <= given[label] <= MOST_POINTS for label in labels):
            raise ValueError(f"scores must be 0 to {MOST_POINTS}")
        verdict.scores = given

    question = JsonQuestion(text, Scores, schema, check)
    verdict = await ask_for_json(bench.request, bench.kit, bench.emit, bench.judge, question)
    if verdict is None:
        return None
    return {each.agent.name: verdict.scores[label] for label, each in candidates.by_label.items()}


def _reverse(candidates: Candidates, pair: Sequence[AgentResult]) -> Candidates:
    """Return the pair in the opposite of the order in which the judge has read it."""
    shown = [each for each in candidates.by_label.values() if each in pair]
    return candidates.arrange(shown[::-1])


def _rank(
    answers: Sequence[AgentResult], points: Mapping[str, float]
) -> list[tuple[AgentResult, float]]:
    """Return the answers by points; of equal ones a complete one, then the ensemble's order."""
    scored = [(each, points[each.agent.name]) for each in answers]
    return sorted(scored, key=lambda pair: (-pair[1], not pair[0].answered))


def _clean(labels: Sequence[str]) -> list[str]:
    return [label.strip().upper() for label in labels]


def _object(properties: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the schema of an object with exactly these properties."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }
