"""The strategy `vote`: the answer that most agents give; for short or structured answers."""

from __future__ import annotations

from collections.abc import Sequence

from service.domain import Answer, RunRequest
from service.ensembles.catalog import Ensemble, EnsembleFault
from service.strategies.base import AgentResult, Emit, Kit, PlannedCalls, Strategy
from service.strategies.checks import find_json_fault, find_unused_key
from service.strategies.fanout import ask_all
from service.strategies.judging.verdicts import Bench, plan_verdicts, score_answers
from service.strategies.options.parameters import COMMON_PARAMETERS
from service.strategies.selecting import send_answer
from service.strategies.voting.count import Party, count_votes, describe_votes, list_tied

_LEAST_VOTERS = 3


async def vote(request: RunRequest, kit: Kit, emit: Emit) -> Answer:
    """Call all agents, and send the answer of the largest group in the words of its first agent.

    Only complete answers have a vote. Raises RunError without an answer.
    """
    kit.workflow.start_step("ask")
    answers, missing = await ask_all(request, kit, emit)
    voters = [each for each in answers if each.answered]
    parties = count_votes(voters)
    await emit(describe_votes(parties))
    chosen = await decide(request, kit, emit, parties)
    return await send_answer(request, kit, emit, chosen, missing)


async def decide(
    request: RunRequest, kit: Kit, emit: Emit, parties: Sequence[Party]
) -> AgentResult:
    """Return an answer of the largest group.

    Of equal groups the judge picks one; without a verdict that of the first agent in the ensemble.
    """
    tied = list_tied(parties)
    leaders = [party.members[0] for party in tied]
    judge = kit.ensemble.judge
    if len(tied) == 1 or judge is None:
        return leaders[0]
    kit.workflow.start_step("judge")
    ranked = await score_answers(Bench(request, kit, emit, judge), leaders)
    kit.workflow.end_step()
    return ranked[0][0] if ranked else leaders[0]


def check(ensemble: Ensemble) -> EnsembleFault | None:
    """Return a fault unless there are at least three agents: two have no majority."""
    if len(ensemble.agents) < _LEAST_VOTERS:
        return EnsembleFault("vote needs at least three agents: two have no majority", "agents")
    return find_json_fault(ensemble.judge, "judge") or find_unused_key(ensemble, "judge")


def steps(ensemble: Ensemble) -> tuple[PlannedCalls, ...]:
    """Return the calls of the agents, and two of the judge for a tie."""
    return (PlannedCalls(ensemble.agents), plan_verdicts(ensemble.judge))


VOTE = Strategy(vote, check, steps, COMMON_PARAMETERS)
