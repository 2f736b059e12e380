"""Hedges: a request whose first token is late is sent a second time, and the first to respond wins.

Calls that are not streamed are not hedged: only their end shows that they work, and most of the
late ones are long answers, which would be paid twice in full.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Literal

from service.errors import UpstreamError
from service.events import AgentHedged
from service.llm.protocol import Call
from service.llm.response import Piece
from service.strategies.calls.attempt import ModelAttempt
from service.strategies.calls.context import CallContext

_log = logging.getLogger(__name__)

_LEAST_MEDIANS = 1.2  # nearly constant times have their 95th percentile just above the median
_Outcome = Literal["won", "lost", "failed", "cancelled"]


class HedgedCall:
    """A request and, if its first token is later than usual, its hedge.

    A hedge goes to the same model, at the agent's second address or with its second key if it has
    one, and only while the budget of the endpoint permits it.
    """

    def __init__(self, context: CallContext, call: Call, number: int) -> None:
        self._context = context
        self._number = number
        self._loop = asyncio.get_running_loop()
        self._original = ModelAttempt(context, call, context.bill.reply)
        self._winner: ModelAttempt | None = None
        self._hedge: ModelAttempt | None = None
        self._task: asyncio.Task[None] | None = None
        self._scope: asyncio.Timeout | None = None  # of the original request, while it is sent

    async def send(self) -> Call:
        """Get the answer; return the request that it is the response to. Raises UpstreamError."""
        context, original = self._context, self._original
        context.kit.hedges.of(original.call.base_url).record_call(context.agent.hedge)
        delay_s = self._find_delay_s()
        if delay_s is None:
            await original.send(self._number, self._forward)
            return original.call
        timer = self._loop.call_later(delay_s, self._start_hedge, delay_s)
        try:
            return await self._send_both()
        finally:
            timer.cancel()
            await self._finish_hedge()

    def _find_delay_s(self) -> float | None:
        """Return the seconds without a token after which the request is hedged; None: never."""
        agent, call = self._context.agent, self._original.call
        samples = self._original.pace.first_token_s
        limit_s, median_s = samples.find_limit(), samples.find_median()
        if not call.stream or not agent.hedge or limit_s is None or median_s is None:
            return None
        delay_s = max(limit_s, _LEAST_MEDIANS * median_s)
        left_s = min(call.first_token_timeout_s, self._context.time_left_s())
        return delay_s if 0 < delay_s < left_s else None

    async def _send_both(self) -> Call:
        failure: UpstreamError | None = None
        try:
            async with asyncio.timeout(None) as self._scope:
                await self._original.send(self._number, self._forward)
        except UpstreamError as error:
            if self._task is None or self._winner is self._original:
                raise
            failure = error
        except TimeoutError:  # the hedge responded first
            self._original.record_overtaken()
        finally:
            self._scope = None
        if failure is None and not self._has_hedge_won:
            return self._original.call
        try:
            return await self._await_hedge(failure)
        finally:
            del failure  # its traceback refers to this frame

    @property
    def _has_hedge_won(self) -> bool:
        return self._hedge is not None and self._winner is self._hedge

    async def _await_hedge(self, failure: UpstreamError | None) -> Call:
        """Wait for the hedge. If it fails before a token, the original `failure` is raised."""
        assert self._task is not None  # noqa: S101  (it won, or is awaited)
        assert self._hedge is not None  # noqa: S101
        try:
            await self._task
        except UpstreamError:
            if failure is None or self._has_hedge_won:
                raise
            try:
                raise failure from None
            finally:
                del failure
        return self._hedge.call

    def _start_hedge(self, waited_s: float) -> None:
        context, original = self._context, self._original
        agent = context.agent
        if self._winner or self._scope is None:
            return
        if not context.kit.hedges.of(original.call.base_url).withdraw(is_needed=context.is_needed):
            context.operation.record_hedge_refused(waited_s)
            return
        call = context.build_hedge(original.call)
        reply = context.bill.start_second_call(call.model)
        self._hedge = ModelAttempt(context, call, reply)
        context.operation.record_hedge(waited_s)
        event = AgentHedged(agent.name, call.model, round(waited_s * 1000, 1))
        self._task = self._loop.create_task(self._send_hedge(self._hedge, event))

    async def _send_hedge(self, hedge: ModelAttempt, event: AgentHedged) -> None:
        await self._context.emit(event)
        await hedge.send(self._number, self._forward)

    async def _forward(self, attempt: ModelAttempt, piece: Piece) -> None:
        """Pass a piece on if its request was the first to respond, and end the other request."""
        if self._winner is None:
            self._winner = attempt
            if self._has_hedge_won:
                self._end_original()
            elif self._task is not None:
                self._task.cancel()
        if self._winner is attempt:
            await self._context.forward(piece)

    def _end_original(self) -> None:
        bill = self._context.bill
        bill.swap_calls()
        bill.close_second_call(was_cut_off=self._scope is not None)
        if self._scope is not None:
            self._scope.reschedule(self._loop.time())

    async def _finish_hedge(self) -> None:
        """End the hedge if there is one and it has not ended; record its cost and its outcome."""
        if self._task is None:
            return
        task, self._task = self._task, None  # whose error refers to frames that refer to this
        task.cancel()
        await asyncio.wait([task])
        error = None if task.cancelled() else task.exception()
        if error and not isinstance(error, UpstreamError):
            _log.error("a hedge failed", exc_info=error)
        if not self._has_hedge_won:
            self._context.bill.close_second_call(was_cut_off=error is None)
        outcome = self._find_outcome(has_failed=error is not None)
        self._context.operation.record_hedge_outcome(outcome)

    def _find_outcome(self, *, has_failed: bool) -> _Outcome:
        if self._has_hedge_won:
            return "won"
        if has_failed:
            return "failed"
        return "lost" if self._winner is self._original else "cancelled"
