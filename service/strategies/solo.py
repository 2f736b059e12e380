"""The strategy `solo`: the text of a single agent is the answer."""

from __future__ import annotations

from service.domain import Answer, RunRequest
from service.ensembles.catalog import Ensemble, EnsembleFault
from service.errors import RunError, UpstreamError
from service.events import AgentFailed, AgentFinished, AgentStarted
from service.strategies.base import Emit, Kit, PlannedCalls, ReusedAnswer, Strategy, advise_retry
from service.strategies.calls.agent_call import AgentCall
from service.strategies.checks import find_unused_key
from service.strategies.output import make_answer_output, make_seam_output


async def solo(request: RunRequest, kit: Kit, emit: Emit) -> Answer:
    """Call the agent, or send its reused answer. Raises RunError with the agent's failure."""
    (agent,) = kit.ensemble.agents
    forward = make_answer_output(request, kit, emit, agent.name)
    if report := kit.reused.get(agent.name):
        reused = ReusedAnswer(agent, report)
        await emit(AgentFinished(agent.name, reused.report()))
        await forward(reused.text)
        return Answer(
            source=agent.name,
            answered_by=agent.name,
            usage=kit.usage,
            cost=kit.cost,
            finish_reason=report.finish_reason,
        )
    call = AgentCall(kit, agent, request, request.messages, emit)
    await emit(AgentStarted(agent.name, agent.model))
    try:
        await call.answer(
            forward,
            has_reasoning_events=request.options.reasoning != "none",
            on_seam=make_seam_output(emit),
        )
    except UpstreamError as error:
        await emit(AgentFailed(agent.name, error.code, error.message, call.report()))
        retry = advise_retry([call], 1)
        raise RunError(error.code, error.message, agent.name, retry=retry) from error
    await emit(AgentFinished(agent.name, call.report()))
    return Answer(
        source=agent.name,
        answered_by=agent.name,
        usage=kit.usage,
        cost=kit.cost,
        finish_reason=call.finish_reason,
        is_substitute=call.stepped_down,
    )


def check(ensemble: Ensemble) -> EnsembleFault | None:
    """Return a fault unless the ensemble has exactly one agent and no combiner."""
    if len(ensemble.agents) != 1 or ensemble.combiner:
        return EnsembleFault("solo needs exactly one agent and no combiner")
    return find_unused_key(ensemble)


def steps(ensemble: Ensemble) -> tuple[PlannedCalls, ...]:
    """Return the only call."""
    return (PlannedCalls(ensemble.agents),)


SOLO = Strategy(solo, check, steps)
