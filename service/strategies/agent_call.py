"""One agent's answer in one run: attempts, retries, fallback models, usage and cost."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from copy import copy
from itertools import count

from service.domain import AgentReport, Message, ReasoningPiece, RunRequest, Usage, add_costs
from service.ensembles.catalog import Agent
from service.errors import RequestCorrected, ServiceError, UpstreamError
from service.events import AgentRetrying
from service.llm.protocol import Call
from service.llm.reply import Reply
from service.llm.requests.plan import RequestPlan
from service.llm.resilience import BUDGET_SPENT, retry_delay_s
from service.llm.response import OnPiece, Piece
from service.strategies.base import Emit, Kit

_LEAST_S = 0.01  # with less time left no further model is called


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
        self.was_retried = False  # also when the budget for retries did not permit it
        self._on_piece: OnPiece | None = None
        self._has_reasoning_events = False
        self._kit = kit
        self._request = request
        self._emit = emit
        self._plan = RequestPlan(agent, request, messages, kit.tokens, kit.client.learned)
        self._left_out: tuple[str, ...] = ()
        self._loop = asyncio.get_running_loop()
        self._started = self._loop.time()
        self._deadline = self._started + agent.timeout_s
        self._first_token: float | None = None
        self._ended: float | None = None
        self._model = agent.model
        self._reply = Reply.for_model(self.agent.think_tags, self._model)
        self._past_usage = Usage()
        self._past_cost: float | None = None
        self._operation = kit.workflow.start_agent(agent.name, agent.model)
        kit.calls.append(self)

    async def answer(self, on_piece: OnPiece | None, *, has_reasoning_events: bool = False) -> None:
        """Get the answer, and pass each piece to `on_piece` (None: no reader) on arrival.

        The report has the reasoning unless that has events. Raises UpstreamError when every attempt
        failed or the answer broke off.
        """
        self._on_piece = on_piece
        self._has_reasoning_events = has_reasoning_events
        outcome = "failed"  # also for an unexpected error, which no clause below catches
        try:
            await self._plan.fit_context(self._operation)
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
            self._ended = self._loop.time()
            self._operation.finish(
                outcome,
                error_type=self.error.code if self.error else None,
                message=self.error.message if self.error else "",
                cost_usd=self.cost,
                first_token_s=self._since_start_s(self._first_token),
            )

    @property
    def has_output(self) -> bool:
        """Whether a piece of the answer has been forwarded."""
        return self._first_token is not None

    @property
    def text(self) -> str:
        """The text of the current attempt so far."""
        return self._reply.text

    @property
    def usage(self) -> Usage:
        """The tokens of all attempts so far."""
        return self._past_usage + self._current_usage()

    @property
    def cost(self) -> float | None:
        """The cost of all attempts so far in US dollars; None when no price is known."""
        return add_costs(self._past_cost, self._price(self._current_usage()))

    def report(self) -> AgentReport:
        """Return the text, usage, cost and times so far."""
        end = self._ended if self._ended is not None else self._loop.time()
        first = self._since_start_s(self._first_token)
        return AgentReport(
            agent=self.agent.name,
            model=self._model,
            text=self.text,
            usage=self.usage,
            cost=self.cost,
            elapsed_ms=round((end - self._started) * 1000, 1),
            first_token_ms=None if first is None else round(first * 1000, 1),
            finish_reason=self._reply.finish_reason,
            partial=not self.answered,
            config_hash=self.agent.config_hash,
            left_out=self._left_out,
            reasoning="" if self._has_reasoning_events else self._reply.reasoning,
        )

    async def _forward(self, piece: Piece) -> None:
        if self._first_token is None and not isinstance(piece, ReasoningPiece):
            self._first_token = self._loop.time()
        if self._on_piece is not None:
            await self._on_piece(piece)

    async def _try_models(self) -> None:
        models = (self.agent.model, *self.agent.fallbacks)
        for model, fallback in zip(models, [*models[1:], None], strict=True):
            self._plan.start_model()
            self._start_call(model)
            try:
                await self._try_model()
                return
            except UpstreamError as error:
                if fallback is None or self.has_output or self._time_left_s() < _LEAST_S:
                    raise
                self.stepped_down = self.was_retried = True
                self._kit.workflow.record_step_down(self.agent.name, error.code)
                await self._emit_retrying(error, fallback, 1, 0)
        raise AssertionError("an agent has at least one model")

    async def _try_model(self) -> None:
        self._kit.budget.record_call()
        failures = 0  # without those that a correction of the request has answered
        for attempt in count(1):
            call = self._plan.build_call(
                self._model,
                key=self._kit.keys(self.agent),
                is_watched=self._on_piece is not None,
                timeout_s=max(0.0, self._deadline - self._loop.time()),
            )
            self._left_out = call.left_out
            try:
                await self._kit.client.chat(
                    call, self._reply, self._forward, self._operation, attempt
                )
            except UpstreamError as error:
                if await self._correct(error, call, attempt):
                    continue
                failures += 1
                delay_s = self._retry_delay_s(error, failures)
                if delay_s is None:
                    raise
                self._operation.record_retry(error.code, delay_s)
                await self._emit_retrying(error, self._model, attempt, delay_s)
            else:
                await self._plan.record_answer(call, self._reply.usage)
                return
            self._start_call(self._model)
            await asyncio.sleep(delay_s)

    async def _correct(self, error: UpstreamError, call: Call, attempt: int) -> bool:
        """Correct the request if its refusal states how; return whether it is to be repeated.

        This takes nothing from the retry budget: a correction is remembered, so it is rare.
        """
        if self.has_output or self._time_left_s() < _LEAST_S:
            return False
        change = await self._plan.correct(error, call)
        if change is None:
            return False
        refusal = error.message.rstrip(".")
        corrected = RequestCorrected(f"{refusal}. It is called again {change}.")
        self._operation.record_retry(corrected.code, 0)
        await self._emit_retrying(corrected, self._model, attempt, 0)
        self._start_call(self._model)
        return True

    def _retry_delay_s(self, error: UpstreamError, attempt: int) -> float | None:
        """Return the seconds until the next attempt; None when the model is not called again."""
        if not error.retryable or self.has_output or attempt > self.agent.retries:
            return None
        delay_s = retry_delay_s(attempt, error.retry_after_s)
        if delay_s >= self._time_left_s():
            return None
        self.was_retried = True
        if not self._kit.budget.withdraw(self.agent.name):
            error.append(BUDGET_SPENT)
            return None
        return delay_s

    async def _emit_retrying(
        self, error: ServiceError, model: str, attempt: int, delay_s: float
    ) -> None:
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

    def _time_left_s(self) -> float:
        """Return the seconds until the agent's own deadline or the run's, whichever is first."""
        return min(self._deadline, self._kit.deadline) - self._loop.time()

    def _start_call(self, model: str) -> None:
        """Add the previous call to the totals, and start a call of `model`."""
        usage = self._current_usage()
        self._past_cost = add_costs(self._past_cost, self._price(usage))
        self._past_usage += usage
        self._model = model
        self._reply = Reply.for_model(self.agent.think_tags, self._model)

    def _current_usage(self) -> Usage:
        if self._reply.usage:
            return self._reply.usage
        was_cut_off = self._ended is not None and self.error is None
        if self._reply.token_chunks or was_cut_off:  # the server worked, but reported no usage
            return Usage.estimate(self._plan.messages, self._reply.text)
        return Usage()

    def _price(self, usage: Usage) -> float | None:
        price = self._kit.prices.get(self._model)
        return price.cost_usd(usage) if price else None

    def _since_start_s(self, moment: float | None) -> float | None:
        return None if moment is None else moment - self._started
