"""One agent answers; its text is the answer."""

from __future__ import annotations

from service.domain import Answer, RunRequest, ToolCall
from service.ensembles.catalog import Ensemble
from service.errors import RunError, UpstreamError
from service.events import AgentFailed, AgentFinished, AgentStarted, AnswerDelta, AnswerToolCall
from service.strategies.agent_call import AgentCall
from service.strategies.base import Emit, Kit, ReusedAnswer, Strategy


async def solo(ask: RunRequest, kit: Kit, emit: Emit) -> Answer:
    """Ask the one agent, unless its answer has landed. Raises RunError with why it failed."""
    (agent,) = kit.ensemble.agents

    async def forward(piece: str | ToolCall) -> None:
        kit.workflow.record_first_output()
        if isinstance(piece, str):
            await emit(AnswerDelta(agent.name, piece))
        else:
            await emit(AnswerToolCall(agent.name, piece))

    if report := kit.landed.get(agent.name):
        landed = ReusedAnswer(agent, report)
        await emit(AgentFinished(agent.name, landed.report()))
        await forward(landed.text)
        return Answer(source=agent.name, answered_by=agent.name, usage=kit.usage, cost=kit.cost)
    asking = AgentCall(kit, agent, ask, ask.messages, emit)
    await emit(AgentStarted(agent.name, agent.model))
    try:
        await asking.answer(forward)
    except UpstreamError as error:
        await emit(AgentFailed(agent.name, error.code, error.message, asking.report()))
        raise RunError(error.code, error.message, agent.name) from error
    await emit(AgentFinished(agent.name, asking.report()))
    return Answer(
        source=agent.name,
        answered_by=agent.name,
        usage=kit.usage,
        cost=kit.cost,
        is_substitute=asking.stepped_down,
    )


def check(ensemble: Ensemble) -> str | None:
    """Exactly one agent, and nothing to combine."""
    if len(ensemble.agents) != 1 or ensemble.combiner:
        return "solo needs exactly one agent and no combiner"
    return None


SOLO = Strategy(solo, check)
