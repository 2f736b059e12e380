"""State of one agent's answer that its attempts share: deadlines, first token, events, bill."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from service.domain import Message, ReasoningPiece, RunRequest
from service.ensembles.catalog import Agent
from service.errors import ServiceError
from service.events import AgentRetrying
from service.llm.requests.plan import RequestPlan
from service.llm.response import OnPiece, Piece
from service.strategies.base import Emit, Kit
from service.strategies.calls.bill import Bill

_LEAST_S = 0.01  # with less time left no further model is called


class CallContext:
    """State of one agent's answer that all of its attempts share. Moments are in loop time."""

    def __init__(
        self, kit: Kit, agent: Agent, request: RunRequest, messages: Sequence[Message], emit: Emit
    ) -> None:
        self.kit = kit
        self.agent = agent
        self.plan = RequestPlan(agent, request, messages, kit.tokens, kit.client.learned)
        self.bill = Bill(agent.model, agent.think_tags, self.plan, kit.prices)
        self.operation = kit.workflow.start_agent(agent.name, agent.model)
        self.on_piece: OnPiece | None = None
        self.was_retried = False  # also when the budget for retries did not permit it
        self.left_out: tuple[str, ...] = ()
        self._emit = emit
        self._loop = asyncio.get_running_loop()
        self.started_at = self._loop.time()
        self.deadline = self.started_at + agent.timeout_s
        self.first_token_at: float | None = None
        self.ended_at: float | None = None

    @property
    def has_output(self) -> bool:
        """Whether a piece of the answer has been forwarded."""
        return self.first_token_at is not None

    @property
    def first_token_s(self) -> float | None:
        """The seconds until the first token; None when no token arrived."""
        return None if self.first_token_at is None else self.first_token_at - self.started_at

    @property
    def elapsed_s(self) -> float:
        """The seconds until the end, or until now."""
        end = self.ended_at if self.ended_at is not None else self._loop.time()
        return end - self.started_at

    @property
    def has_time_left(self) -> bool:
        """Whether another call can be made before the deadlines."""
        return self.time_left_s() >= _LEAST_S

    def time_left_s(self) -> float:
        """Return the seconds until the agent's own deadline or the run's, whichever is first."""
        return min(self.deadline, self.kit.deadline) - self._loop.time()

    def end(self) -> None:
        """Record the moment of the end."""
        self.ended_at = self._loop.time()

    async def forward(self, piece: Piece) -> None:
        """Pass a piece of the answer on to its reader, if there is one."""
        if self.first_token_at is None and not isinstance(piece, ReasoningPiece):
            self.first_token_at = self._loop.time()
        if self.on_piece is not None:
            await self.on_piece(piece)

    async def emit_retrying(
        self, error: ServiceError, model: str, attempt: int, delay_s: float
    ) -> None:
        """Emit that `attempt` failed with `error`, and that `model` is called in `delay_s`."""
        await self._emit(
            AgentRetrying(
                agent=self.agent.name,
                code=error.code,
                message=error.message,
                model=model,
                attempt=attempt,
                delay_ms=round(delay_s * 1000, 1),
            )
        )
