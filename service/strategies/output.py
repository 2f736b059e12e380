"""The pieces of a model's answer as events of its run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from service.domain import ReasoningPiece, RunRequest, ToolCall
from service.events import (
    AgentDelta,
    AgentReasoning,
    AnswerDelta,
    AnswerReasoning,
    AnswerReset,
    AnswerToolCall,
)
from service.events.seams import AgentContinued, AnswerContinued
from service.llm.response import OnPiece, Piece
from service.strategies.base import Emit, Kit


def make_answer_output(request: RunRequest, kit: Kit, emit: Emit, agent: str) -> OnPiece:
    """Return a function that emits each piece of the answer that `agent` writes."""
    has_reasoning = request.options.reasoning != "none"

    async def forward_reasoning(piece: ReasoningPiece) -> None:
        if piece.recalls:
            await emit(AnswerReset(agent))
        if has_reasoning and piece.text:
            await emit(AnswerReasoning(agent, piece.text))

    def forward(piece: Piece) -> Awaitable[None]:
        if isinstance(piece, ReasoningPiece):
            return forward_reasoning(piece)
        kit.workflow.record_first_output()
        if isinstance(piece, ToolCall):
            return emit(AnswerToolCall(agent, piece))
        return emit(AnswerDelta(agent, piece))

    return forward


def make_seam_output(
    emit: Emit, find_position: Callable[[], int] | None = None
) -> Callable[[AgentContinued], Awaitable[None]]:
    """Return a function that emits a seam of the agent whose text is the answer.

    `find_position` returns the length of the answer if that is not the agent's unchanged text.
    """

    async def report(seam: AgentContinued) -> None:
        position = find_position() if find_position else seam.position
        await emit(AnswerContinued(seam.agent, seam.code, seam.message, seam.model, position))

    return report


def make_agent_output(request: RunRequest, emit: Emit, agent: str) -> OnPiece | None:
    """Return a function that emits the pieces of an agent's answer; None when none is requested.

    Tool calls are left out: tools are refused for ensembles of several agents.
    """
    has_text, has_reasoning = request.stream_agents, request.options.reasoning == "all"

    async def forward(piece: Piece) -> None:
        if isinstance(piece, ReasoningPiece):
            if has_reasoning and piece.text:
                await emit(AgentReasoning(agent, piece.text))
        elif has_text and isinstance(piece, str):
            await emit(AgentDelta(agent, piece))

    return forward if has_text or has_reasoning else None
