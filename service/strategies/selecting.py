"""The end of strategies whose answer is the own text of one agent."""

from __future__ import annotations

from collections.abc import Sequence

from service.domain import Answer, MissingAgent, RunRequest
from service.strategies.base import AgentResult, Emit, Kit
from service.strategies.output import make_answer_output


async def send_answer(
    request: RunRequest,
    kit: Kit,
    emit: Emit,
    chosen: AgentResult,
    missing: Sequence[MissingAgent] = (),
) -> Answer:
    """Send the complete text of `chosen` as the answer."""
    name = chosen.agent.name
    await make_answer_output(request, kit, emit, name)(chosen.text)
    return Answer(
        source=name,
        answered_by=name,
        usage=kit.usage,
        cost=kit.cost,
        finish_reason=chosen.finish_reason,
        missing=tuple(missing),
    )
