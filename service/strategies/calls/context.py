"""State of one agent's answer that its attempts share: deadlines, first token, events, bill."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from service.domain import Message, ReasoningPiece, RunRequest
from service.ensembles.catalog import Agent
from service.errors import ServiceError
from service.events import AgentRetrying
from service.llm.endpoints.pace import AgentPace
from service.llm.protocol import Call
from service.llm.requests.plan import RequestPlan
from service.llm.response import DONE, OnPiece, Piece
from service.strategies.base import Emit, Kit
from service.strategies.calls.bill import Bill
from service.strategies.calls.continued_text import ContinuedText

if TYPE_CHECKING:
    from service.strategies.calls.attempt import ModelAttempt

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
        self.retries = 0  # reported as events
        self.hedges = 0
        self.left_out: tuple[str, ...] = ()
        self.attempts: list[ModelAttempt] = []  # under way: one, or with its hedge two
        self.continued: ContinuedText | None = None  # after a seam
        self.seams = 0
        self.past_reasoning = ""  # of the calls before the last seam
        self.is_probe: bool | None = None  # whether no limit of its own ends the wait for it
        self.emit = emit
        self._loop = asyncio.get_running_loop()
        self.started_at = self._loop.time()
        self.next_attempt_at = self.started_at  # or that of the last one
        self.deadline = self.started_at + agent.timeout_s
        self.first_token_at: float | None = None
        self.ended_at: float | None = None

    @property
    def has_output(self) -> bool:
        """Whether a piece of the answer has been forwarded."""
        return self.first_token_at is not None

    @property
    def has_call_output(self) -> bool:
        """Whether a piece of the current call has been forwarded; of a continuation, a new one."""
        return self.continued.has_output if self.continued else self.has_output

    @property
    def text(self) -> str:
        """The text of the answer so far."""
        return self.continued.text if self.continued else self.bill.reply.text

    @property
    def pace(self) -> AgentPace:
        """The recent pace of the agent with its current model."""
        return self.kit.paces.of(self.agent.name, self.agent.base_url, self.bill.model)

    @property
    def is_needed(self) -> bool:
        """Whether the run has no answer without this one, as far as is known.

        It is so for combiners and single agents, and for the agents of an ensemble while fewer than
        `min_answers` others have sent a token.
        """
        kit, agents = self.kit, self.kit.ensemble.agents
        others = [call for call in kit.calls if call.has_output and call.agent in agents]
        return self.agent not in agents or len(others) + len(kit.reused) < kit.ensemble.min_answers

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

    def build_call(self, model: str) -> Call:
        """Return the next request to `model`."""
        if self.continued:
            self.continued.restart()
        call = self._build(self.agent, model)
        self.left_out = call.left_out
        return call

    def build_hedge(self, call: Call) -> Call:
        """Return the hedge of `call`: to the agent's second address if it has one."""
        target = self.agent.hedge_target
        if target is None:
            return replace(self._build(self.agent, call.model), is_hedge=True)
        model = target.model if call.model == self.agent.model else call.model
        return replace(self._build(target, model), is_hedge=True)

    def _build(self, target: Agent, model: str) -> Call:
        return self.plan.build_call(
            model,
            target=target,
            key=self.kit.keys(target),
            is_watched=self.on_piece is not None,
            timeout_s=max(0.0, self.deadline - self._loop.time()),
        )

    def end(self) -> None:
        """Record the moment of the end."""
        self.ended_at = self._loop.time()

    def forward(self, piece: Piece) -> Awaitable[None]:
        """Pass a piece of the answer on to its reader, if there is one."""
        if self.first_token_at is None and not isinstance(piece, ReasoningPiece):
            self.first_token_at = self._loop.time()
        if self.continued:
            return self._pass_on(self.continued.take(piece))
        return DONE if self.on_piece is None else self.on_piece(piece)

    async def finish_text(self) -> None:
        """Pass on the rest of a continuation at the end of the answer."""
        if self.continued:
            await self._pass_on(self.continued.finish())

    async def _pass_on(self, pieces: Sequence[Piece]) -> None:
        if self.on_piece is not None:
            for piece in pieces:
                await self.on_piece(piece)

    async def start_seam(self) -> None:
        """Request the rest of the answer from now on: it broke off."""
        text = self.text
        self.seams += 1
        self.past_reasoning += self.bill.reply.reasoning
        self.was_retried = True
        self.continued = ContinuedText(text)
        await self.plan.continue_from(text)

    async def emit_retrying(
        self, error: ServiceError, model: str, attempt: int, delay_s: float
    ) -> None:
        """Emit that `attempt` failed with `error`, and that `model` is called in `delay_s`."""
        self.retries += 1
        await self.emit(
            AgentRetrying(
                agent=self.agent.name,
                code=error.code,
                message=error.message,
                model=model,
                attempt=attempt,
                delay_ms=round(delay_s * 1000, 1),
            )
        )
