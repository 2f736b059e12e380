"""The strategy `council`: agents answer, rank each other's answers, and a chair writes."""

from __future__ import annotations

from collections.abc import Sequence

from service.domain import Answer, RunRequest
from service.ensembles.catalog import Agent, Ensemble, EnsembleFault
from service.strategies.base import AgentResult, Emit, Kit, PlannedCalls, Strategy, plan_readers
from service.strategies.best_of import make_ranking
from service.strategies.checks import find_json_fault, find_unused_key
from service.strategies.fanout import ask_all, gather_together
from service.strategies.judging.verdicts import Bench, rank_others
from service.strategies.options.parameters import COMMON_PARAMETERS, for_agents
from service.strategies.writing import Draft, write_answer

REVIEW = "#review"  # added to an agent's name for its call as a reviewer
_LEAST_RANKED = 2  # a single answer has no order
_FEWEST_AGENTS = _LEAST_RANKED + 1  # a reviewer does not rank its own answer


async def council(request: RunRequest, kit: Kit, emit: Emit) -> Answer:
    """Call all agents, then each as a reviewer of the others, then the chair.

    Reviewers without a usable ranking do not count. Raises RunError without an answer.
    """
    chair = find_chair(kit.ensemble)
    assert chair is not None  # noqa: S101  (check() below)
    kit.workflow.start_step("ask")
    answers, missing = await ask_all(for_agents(request), kit, emit)
    kit.workflow.start_step("review")
    ballots = await _collect_ballots(request, kit, emit, answers)
    kit.check_cost()
    ranked = count_borda(answers, [each for each in ballots if each])
    await emit(make_ranking(ranked))
    kit.workflow.start_step("write")
    draft = Draft(
        writer=chair,
        answers=[each for each, _ in ranked],
        missing=missing,
        notes=[_describe(ranked)] if any(ballots) else [],
    )
    return await write_answer(request, kit, emit, draft)


async def _collect_ballots(
    request: RunRequest, kit: Kit, emit: Emit, answers: Sequence[AgentResult]
) -> Sequence[Sequence[AgentResult] | None]:
    """Return the ranking of each reviewer; each has a random order and not its own answer."""
    others = {each: [other for other in answers if other is not each] for each in answers}
    return await gather_together(
        [
            rank_others(Bench(request, kit, emit, _make_reviewer(each.agent)), rest)
            for each, rest in others.items()
            if len(rest) >= _LEAST_RANKED and each.answered
        ]
    )


def _make_reviewer(agent: Agent) -> Agent:
    return agent.derive(f"{agent.name}{REVIEW}", prompt="", temperature=0.0, instance=0)


def count_borda(
    answers: Sequence[AgentResult], ballots: Sequence[Sequence[AgentResult]]
) -> list[tuple[AgentResult, float]]:
    """Return the answers by the mean of their Borda points, the best first.

    The first of n places is 1, the last 0. Equal ones are in the ensemble's order.
    """
    points: dict[int, list[float]] = {id(each): [] for each in answers}
    for ballot in ballots:
        for place, each in enumerate(ballot):
            points[id(each)].append(1 - place / (len(ballot) - 1))
    means = [(each, _mean(points[id(each)])) for each in answers]
    return sorted(means, key=lambda pair: -pair[1])


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _describe(ranked: Sequence[tuple[AgentResult, float]]) -> str:
    lines = [f"{each.agent.name}: {score:.2f}" for each, score in ranked]
    return "Ranking of these answers by the assistants themselves, 1 is best:\n" + "\n".join(lines)


def find_chair(ensemble: Ensemble) -> Agent | None:
    """Return the agent that writes: the chair, or the combiner where no chair is named."""
    return ensemble.chair or ensemble.combiner


def check(ensemble: Ensemble) -> EnsembleFault | None:
    """Return a fault unless there are a chair and three agents that can rank in JSON."""
    if find_chair(ensemble) is None:
        return EnsembleFault("council needs a chair")
    if len(ensemble.agents) < _FEWEST_AGENTS:
        return EnsembleFault(
            "council needs at least three agents: each ranks the answers of the others", "agents"
        )
    faults = (find_json_fault(each, "agents") for each in ensemble.agents)
    return next(filter(None, faults), None) or find_unused_key(ensemble, "chair")


def steps(ensemble: Ensemble) -> tuple[PlannedCalls, ...]:
    """Return the calls of the agents, their reviews, and the call of the chair."""
    return (
        PlannedCalls(ensemble.agents),
        plan_readers(*map(_make_reviewer, ensemble.agents)),
        plan_readers(find_chair(ensemble)),
    )


COUNCIL = Strategy(council, check, steps, COMMON_PARAMETERS)
