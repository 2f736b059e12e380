"""The strategy `best_of`: all agents answer, and a judge picks the answer that is sent."""

from __future__ import annotations

from collections.abc import Sequence

from service.domain import Answer, RunRequest
from service.ensembles.catalog import Ensemble, EnsembleFault
from service.events.findings import RankedAgent, RankingFinished
from service.strategies.base import AgentResult, Emit, Kit, PlannedCalls, Strategy
from service.strategies.checks import find_json_fault, find_unused_key
from service.strategies.fanout import ask_all
from service.strategies.judging.verdicts import Bench, plan_verdicts, score_answers
from service.strategies.options.parameters import COMMON_PARAMETERS
from service.strategies.selecting import send_answer


async def best_of(request: RunRequest, kit: Kit, emit: Emit) -> Answer:
    """Call all agents and then the judge; a single complete answer needs no judge.

    Texts that were cut off are not judged: the answer is sent as it is. Without a usable verdict
    the first complete answer is sent. Raises RunError without an answer.
    """
    judge = kit.ensemble.judge
    assert judge is not None  # noqa: S101  (check() below)
    kit.workflow.start_step("ask")
    given, missing = await ask_all(request, kit, emit)
    answers = [each for each in given if each.answered]
    if len(answers) == 1:
        return await send_answer(request, kit, emit, answers[0], missing)
    kit.workflow.start_step("judge")
    ranked = await score_answers(Bench(request, kit, emit, judge), answers)
    kit.workflow.end_step()
    chosen = ranked[0][0] if ranked else answers[0]
    if ranked:
        await emit(make_ranking(ranked))
    return await send_answer(request, kit, emit, chosen, missing)


def make_ranking(ranked: Sequence[tuple[AgentResult, float]]) -> RankingFinished:
    """Return the event of a ranking, the best first."""
    return RankingFinished(
        tuple(RankedAgent(each.agent.name, round(score, 3)) for each, score in ranked)
    )


def check(ensemble: Ensemble) -> EnsembleFault | None:
    """Return a fault unless there are several agents and a judge for them."""
    if ensemble.judge is None:
        return EnsembleFault("best_of needs a judge")
    if len(ensemble.agents) == 1:
        return EnsembleFault("best_of needs at least two agents; solo asks one", "agents")
    return find_json_fault(ensemble.judge, "judge") or find_unused_key(ensemble, "judge")


def steps(ensemble: Ensemble) -> tuple[PlannedCalls, ...]:
    """Return the calls of the agents, and two of the judge: in one order and in the other."""
    return (PlannedCalls(ensemble.agents), plan_verdicts(ensemble.judge))


BEST_OF = Strategy(best_of, check, steps, COMMON_PARAMETERS)
