"""One attempt of an agent: one request to one model, with the moments of its output."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from copy import copy
from functools import partial
from typing import Literal

from service.errors import BudgetExceeded, UpstreamError, UpstreamTimeout
from service.llm.endpoints.pace import AgentPace
from service.llm.protocol import Call
from service.llm.reply import Reply
from service.llm.response import Piece
from service.strategies.calls.context import CallContext
from service.strategies.calls.recorder import CallRecorder

Phase = Literal["first_token", "silence", "length", "limit", "grace", "cost"]
"""The limit that an agent exceeded: its own until the first token, within a silence or for its
length, that of the ensemble (`straggler_max_s`), a fixed grace, or the cost limit of the run."""
Forward = Callable[["ModelAttempt", Piece], Awaitable[None]]


class ModelAttempt:
    """One request, while its response arrives. Moments are in loop time.

    `finish_by` is the moment until which enough other agents wait for the rest of the answer, once
    that has been determined.
    """

    def __init__(self, context: CallContext, call: Call, reply: Reply) -> None:
        self.call = call
        self.reply = reply
        self.finish_by: float | None = None
        self._context = context
        self._loop = asyncio.get_running_loop()
        self.started_at = self._loop.time()
        self.first_at: float | None = None  # of the answer or of its reasoning
        self.last_at = self.started_at
        self._silence_s = 0.0
        self._recorder = CallRecorder(context.agent.name, call, reply, self.started_at)

    @property
    def pace(self) -> AgentPace:
        """The recent pace of the agent with the model and the server of this request."""
        call, context = self.call, self._context
        return context.kit.paces.of(context.agent.name, call.base_url, call.model)

    async def send(self, number: int, forward: Forward) -> None:
        """Make the request, and pass each piece of the response to `forward`.

        Every call of a model by the service passes through here. Raises UpstreamError.
        """
        context = self._context
        context.attempts.append(self)
        context.kit.recorders.append(self._recorder)
        try:
            receive = partial(self._receive, forward)
            async with context.kit.spending.call(context.agent, self.call, self.reply):
                await context.kit.client.chat(
                    self.call, self.reply, receive, context.operation, number
                )
        except UpstreamError as error:
            self._recorder.error = copy(error)  # without its traceback, which refers to this frame
            if isinstance(error, UpstreamTimeout):
                self.record_cut("silence")
            elif isinstance(error, BudgetExceeded):
                context.kit.workflow.record_budget_refusal(context.agent.name)
            raise
        else:
            self._record_answer()
        finally:
            self._recorder.ended_at = self._loop.time()
            context.attempts.remove(self)

    def record_overtaken(self) -> None:
        """Record that the request was ended because its hedge responded first."""
        if self.first_at is None:
            self.pace.first_token_s.record_unfinished()

    def record_cut(self, phase: Phase) -> None:
        """Record that the request was ended in `phase`."""
        if phase in ("grace", "cost"):  # these say nothing about its pace
            return
        if self.first_at is None:
            self.pace.first_token_s.record_unfinished()
            return
        self.pace.first_token_s.record(self.first_at - self.started_at)
        if phase == "silence":
            self.pace.silence_s.record_unfinished()
        elif phase == "length":
            self.pace.tokens.record_unfinished()

    def _receive(self, forward: Forward, piece: Piece) -> Awaitable[None]:
        # Not a coroutine, like all functions between here and the event: that is faster.
        now = self._loop.time()
        if self.first_at is None:
            self.first_at = now
        else:
            self._silence_s = max(self._silence_s, now - self.last_at)
        self.last_at = now
        self._recorder.add(piece, now)
        return forward(self, piece)

    def _record_answer(self) -> None:
        end = self._loop.time()
        first = self.first_at if self.first_at is not None else end
        self.pace.record_answer(
            first_s=first - self.started_at,
            end_s=end - self.started_at,
            silence_s=self._silence_s if self.call.stream else None,
            # A continuation has only a part of the answer's tokens.
            tokens=0 if self._context.seams else self.reply.token_chunks,
        )
