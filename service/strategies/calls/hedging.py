"""Hedges: a request whose first token is late is sent again, and the first to respond wins.

Calls that are not streamed are not hedged: only their end shows that they work, and most of the
late ones are long answers, which would be paid twice in full.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from typing import Literal, NamedTuple

from service.errors import UpstreamError
from service.events import AgentHedged
from service.llm.protocol import Call
from service.llm.response import DONE, Piece
from service.strategies.calls.attempt import ModelAttempt
from service.strategies.calls.context import CallContext

_log = logging.getLogger(__name__)

_MOST_HEDGES = 2  # the second one only if the first one is late, too
_LEAST_MEDIANS = 1.2  # nearly constant times have their 95th percentile just above the median
_Outcome = Literal["won", "lost", "failed", "cancelled"]


class _Hedge(NamedTuple):
    attempt: ModelAttempt
    task: asyncio.Task[None]


class HedgedCall:
    """A request and, if its first token is later than usual, its hedges.

    A hedge goes to the same model, at the agent's second address or with its second key if it has
    one, and only while the budget of the endpoint permits it.
    """

    def __init__(self, context: CallContext, call: Call, number: int) -> None:
        self._context = context
        self._number = number
        self._loop = asyncio.get_running_loop()
        self._original = ModelAttempt(context, call, context.bill.reply)
        self._winner: ModelAttempt | None = None
        self._hedges: list[_Hedge] = []
        self._scope: asyncio.Timeout | None = None  # of the original request, while it is sent
        self._timer: asyncio.TimerHandle | None = None

    async def send(self) -> Call:
        """Get the answer; return the request that it is the response to. Raises UpstreamError."""
        context, original = self._context, self._original
        context.kit.hedges.of(original.call.base_url).record_call(context.agent.hedge)
        self._set_timer(original)
        if self._timer is None:
            await original.send(self._number, self._forward)
            return original.call
        try:
            return await self._send_all()
        finally:
            await self._finish()

    def _set_timer(self, attempt: ModelAttempt) -> None:
        """Start a hedge when `attempt` is late, unless it cannot be known or hedged."""
        agent, call = self._context.agent, attempt.call
        limit_s = attempt.pace.first_token_s.find_limit()
        median_s = attempt.pace.first_token_s.find_median()
        if not call.stream or not agent.hedge or limit_s is None or median_s is None:
            return
        delay_s = max(limit_s, _LEAST_MEDIANS * median_s)
        if 0 < delay_s < min(call.first_token_timeout_s, self._context.time_left_s()):
            self._timer = self._loop.call_later(delay_s, self._start_hedge)

    async def _send_all(self) -> Call:
        failure: UpstreamError | None = None
        try:
            async with asyncio.timeout(None) as self._scope:
                await self._original.send(self._number, self._forward)
        except UpstreamError as error:
            if not self._hedges or self._winner is self._original:
                raise
            failure = error
        except TimeoutError:  # a hedge responded first
            self._original.record_overtaken()
        finally:
            self._scope = None
        if failure is None and not self._has_hedge_won:
            return self._original.call
        try:
            return await self._await_hedges(failure)
        finally:
            del failure  # its traceback refers to this frame

    @property
    def _has_hedge_won(self) -> bool:
        return self._winner is not None and self._winner is not self._original

    async def _await_hedges(self, failure: UpstreamError | None) -> Call:
        """Wait for the hedge that responds. If none does, the original `failure` is raised."""
        for hedge in self._hedges:  # it may grow meanwhile
            await asyncio.wait([hedge.task])
            if hedge.attempt is self._winner:
                hedge.task.result()
                return hedge.attempt.call
        assert failure is not None  # noqa: S101  (else a hedge has won)
        try:
            raise failure from None
        finally:
            del failure

    def _start_hedge(self) -> None:
        context, original = self._context, self._original
        has_failed = any(each.task.done() for each in self._hedges)
        if self._winner is not None or has_failed:
            return
        waited_s = self._loop.time() - original.started_at
        if not context.kit.hedges.of(original.call.base_url).withdraw(is_needed=context.is_needed):
            context.operation.record_hedge_refused(waited_s)
            return
        call = context.build_hedge(original.call)
        attempt = ModelAttempt(context, call, context.bill.start_second_call(call.model))
        context.operation.record_hedge(waited_s)
        task = self._loop.create_task(self._send_hedge(attempt, waited_s))
        self._hedges.append(_Hedge(attempt, task))
        if len(self._hedges) < _MOST_HEDGES:
            self._set_timer(attempt)

    async def _send_hedge(self, attempt: ModelAttempt, waited_s: float) -> None:
        name, model = self._context.agent.name, attempt.call.model
        self._context.hedges += 1
        await self._context.emit(AgentHedged(name, model, round(waited_s * 1000, 1)))
        await attempt.send(self._number, self._forward)

    def _forward(self, attempt: ModelAttempt, piece: Piece) -> Awaitable[None]:
        """Pass a piece on if its request was the first to respond, and end the others."""
        if self._winner is None:
            self._winner = attempt
            self._end_others(attempt)
        return self._context.forward(piece) if self._winner is attempt else DONE

    def _end_others(self, winner: ModelAttempt) -> None:
        for hedge in self._hedges:
            if hedge.attempt is not winner:
                hedge.task.cancel()
                if hedge.attempt.started_at < winner.started_at:
                    hedge.attempt.record_overtaken()
        if winner is self._original:
            return
        bill, original = self._context.bill, self._original
        bill.promote_call(winner.reply)
        bill.close_second_call(original.reply, was_cut_off=self._scope is not None)
        if self._scope is not None:
            self._scope.reschedule(self._loop.time())

    async def _finish(self) -> None:
        """End the hedges that have not ended; record their costs and outcomes."""
        if self._timer is not None:
            self._timer.cancel()
        hedges, self._hedges = self._hedges, []  # their errors refer to frames that refer to this
        for hedge in hedges:
            hedge.task.cancel()
            await asyncio.wait([hedge.task])
            error = None if hedge.task.cancelled() else hedge.task.exception()
            if error and not isinstance(error, UpstreamError):
                _log.error("a hedge failed", exc_info=error)
            if hedge.attempt is not self._winner:
                reply = hedge.attempt.reply
                self._context.bill.close_second_call(reply, was_cut_off=error is None)
            outcome = self._find_outcome(hedge, has_failed=error is not None)
            self._context.operation.record_hedge_outcome(outcome)

    def _find_outcome(self, hedge: _Hedge, *, has_failed: bool) -> _Outcome:
        if hedge.attempt is self._winner:
            return "won"
        if has_failed:
            return "failed"
        return "lost" if self._winner is not None else "cancelled"
