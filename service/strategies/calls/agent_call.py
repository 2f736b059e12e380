"""One agent's answer in one run: its model, then its fallback models; the report of the result."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from copy import copy

from service.domain import AgentReport, Message, RunRequest, ToolCall, Usage
from service.ensembles.catalog import Agent
from service.errors import EndpointLimited, UpstreamError
from service.events.seams import AgentContinued
from service.llm.response import OnPiece
from service.messages import join_tool_calls
from service.strategies.base import Emit, Kit
from service.strategies.calls.attempt import Phase
from service.strategies.calls.attempts import try_model
from service.strategies.calls.context import CallContext
from service.strategies.calls.continuing import can_continue
from service.strategies.calls.patience import Cutoff, find_cutoff

OnSeam = Callable[[AgentContinued], Awaitable[None]]


class AgentCall:
    """Gets the answer of one agent, with as many attempts and models as that takes.

    `report()` is valid at any time, also after a failure or a cancellation.
    """

    def __init__(
        self, kit: Kit, agent: Agent, request: RunRequest, messages: Sequence[Message], emit: Emit
    ) -> None:
        self.agent = agent
        self.skipped = False  # set before a straggler is cancelled
        self.answered = False
        self.error: UpstreamError | None = None
        self.stepped_down = False
        self._has_reasoning_events = False
        self._context = CallContext(kit, agent, request, messages, emit)
        self._bill = self._context.bill
        kit.calls.append(self)

    async def answer(
        self,
        on_piece: OnPiece | None,
        *,
        has_reasoning_events: bool = False,
        on_seam: OnSeam | None = None,
    ) -> None:
        """Get the answer, and pass each piece to `on_piece` (None: no reader) on arrival.

        An answer that broke off is continued, which `on_seam` reports instead of an event of the
        agent. The report has the reasoning unless that has events. Raises UpstreamError when every
        attempt failed or the answer broke off for good.
        """
        self._on_seam = on_seam or self._context.emit
        context = self._context
        context.on_piece = on_piece
        self._has_reasoning_events = has_reasoning_events
        outcome = "failed"  # also for an unexpected error, which no clause below catches
        try:
            await context.plan.fit_context(context.operation)
            await self._try_models()
            self.answered = True
            outcome = "answered"
        except UpstreamError as error:
            self.error = copy(error)  # without its traceback, whose frames refer to this
            outcome = "failed"
            raise
        except asyncio.CancelledError:
            outcome = "skipped" if self.skipped else "cancelled"
            raise
        finally:
            context.end()
            if self.error is None:
                self._bill.close()
            context.operation.finish(
                outcome,
                error_type=self.error.code if self.error else None,
                message=self.error.message if self.error else "",
                cost_usd=self.cost,
                first_token_s=context.first_token_s,
            )

    @property
    def was_retried(self) -> bool:
        """Whether a model was, or should have been, called again."""
        return self._context.was_retried

    @property
    def has_output(self) -> bool:
        """Whether a piece of the answer has been forwarded."""
        return self._context.has_output

    @property
    def text(self) -> str:
        """The text so far."""
        return self._context.text

    @property
    def finish_reason(self) -> str:
        """The reason for the end of the current attempt, "" while it is not known."""
        return self._bill.reply.finish_reason

    @property
    def tool_calls(self) -> Sequence[ToolCall]:
        """The calls of the client's tools in the current attempt so far."""
        return join_tool_calls(self._bill.reply.calls)

    @property
    def usage(self) -> Usage:
        """The tokens of all attempts so far."""
        return self._bill.usage

    @property
    def cost(self) -> float | None:
        """The cost of all attempts so far in US dollars; None when no price is known."""
        return self._bill.cost

    def report(self) -> AgentReport:
        """Return the text, usage, cost and times so far."""
        reply, first_s = self._bill.reply, self._context.first_token_s
        return AgentReport(
            agent=self.agent.name,
            model=self._bill.model,
            text=self.text,
            usage=self.usage,
            cost=self.cost,
            elapsed_ms=round(self._context.elapsed_s * 1000, 1),
            first_token_ms=None if first_s is None else round(first_s * 1000, 1),
            finish_reason=reply.finish_reason,
            partial=not self.answered,
            config_hash=self.agent.config_hash,
            left_out=self._context.left_out,
            retries=self._context.retries,
            hedges=self._context.hedges,
            reasoning="" if self._has_reasoning_events else self._reasoning,
        )

    def find_cutoff(self, latest: float) -> Cutoff:
        """Return the moment at which this straggler is cut off unless it makes progress before.

        It is at most `latest`, in loop time.
        """
        return find_cutoff(self._context, latest)

    def cut_off(self, phase: Phase) -> None:
        """Record that the agent is cut off in `phase`; the caller cancels its task."""
        self.skipped = True
        for attempt in self._context.attempts:
            attempt.record_cut(phase)

    @property
    def _reasoning(self) -> str:
        return self._context.past_reasoning + self._bill.reply.reasoning

    async def _try_models(self) -> None:
        """Call the models in their order until one completes the answer. Raises UpstreamError."""
        context = self._context
        models = iter((self.agent.model, *self.agent.fallbacks))
        model = next(models)
        while True:
            try:
                await try_model(context, model)
                return
            except UpstreamError as error:
                if can_continue(context, error):
                    # At first the same model, then the next one if there is any.
                    fallback = next(models, None) if context.seams else None
                    self._step_down(error, fallback)
                    model = fallback or model
                    await self._continue(error, model)
                else:
                    fallback = await self._choose_fallback(error, models)
                    if fallback is None:
                        raise
                    model = fallback
            context.plan.start_model()
            self._bill.start_call(model)

    async def _choose_fallback(self, error: UpstreamError, models: Iterator[str]) -> str | None:
        """Return the model to call after one that failed with `error`, if there is any."""
        context = self._context
        is_useless = isinstance(error, EndpointLimited) and error.is_shared
        may_call = not (is_useless or context.has_call_output) and context.has_time_left
        fallback = next(models, None) if may_call else None
        if fallback:
            self._step_down(error, fallback)
            await context.emit_retrying(error, fallback, 1, 0)
        return fallback

    def _step_down(self, error: UpstreamError, fallback: str | None) -> None:
        if fallback:
            self.stepped_down = self._context.was_retried = True
            self._context.kit.workflow.record_step_down(self.agent.name, error.code)

    async def _continue(self, error: UpstreamError, model: str) -> None:
        context, position = self._context, len(self.text)
        context.operation.record_continuation(error.code, position)
        event = AgentContinued(self.agent.name, error.code, error.message, model, position)
        await self._on_seam(event)
        await context.start_seam()
