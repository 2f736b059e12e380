"""The amounts that a run has reserved: each call takes its worst case before it is sent.

A call that the plan of the run has counted takes its share; what it does not need is free for
others. Retries, fallback models and all other calls take what is free, and extend the reservation
by what they lack. A call that is refused an extension is not sent.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from types import TracebackType
from typing import Protocol

from service.domain import Usage
from service.ensembles.agents import Agent
from service.errors import UpstreamError
from service.llm.protocol import Call
from service.llm.reply import Reply
from service.strategies.spending.worst_case import Amounts, WorstCases

Extend = Callable[[Agent, Amounts], Awaitable[None]]
"""Reserves more for a call of an agent. Raises UpstreamError when it is refused."""


class Spending(Protocol):
    """The amounts that one run may spend."""

    def call(self, agent: Agent, call: Call, reply: Reply) -> AbstractAsyncContextManager[None]:
        """Return the context in which `call` is made, and `reply` is filled.

        Raises UpstreamError when the call must not be sent.
        """


class UnlimitedSpending:
    """The amounts of a run that no budget limits: every call can be sent."""

    def call(self, *_call: object) -> AbstractAsyncContextManager[None]:
        """Return a context without effect."""
        return _UNLIMITED


_UNLIMITED = nullcontext()


class ReservedSpending:
    """The amounts that one run has reserved.

    `planned` has the worst case of each planned call of a step, by agent, in the steps' order.
    """

    def __init__(
        self, worst_cases: WorstCases, planned: Iterable[Mapping[str, Amounts]], extend: Extend
    ) -> None:
        self._worst_cases = worst_cases
        self._extend = extend
        self._planned: dict[str, deque[Amounts]] = {}
        self._free = Amounts()
        for step in planned:
            for agent, share in step.items():
                self._planned.setdefault(agent, deque()).append(share)

    def call(self, agent: Agent, call: Call, reply: Reply) -> AbstractAsyncContextManager[None]:
        """Return the context in which `call` is made, with its worst case reserved."""
        return _ReservedCall(self, agent, call, reply)

    async def take(self, agent: Agent, call: Call) -> Amounts:
        """Take the worst case of a call from the reservation; return it.

        Raises UpstreamError when the reservation has too little and cannot be extended.
        """
        worst = await self._worst_cases.of_call(agent, call)
        shares = self._planned.get(agent.name)
        share = shares.popleft() if shares else Amounts()
        self._free += share - worst
        lack = self._free.lacking
        if lack != Amounts():
            self._free += lack  # before the wait: calls at the same time lack only their own part
            try:
                await self._extend(agent, lack)
            except BaseException:
                self._free += worst - lack
                raise
        return worst

    def settle(self, worst: Amounts, model: str, usage: Usage) -> None:
        """Return what a call has not used. A server may have charged more than the worst case."""
        self._free += worst - self._worst_cases.of_usage(model, usage)


class _ReservedCall(AbstractAsyncContextManager[None]):
    """The context of one call."""

    def __init__(self, spending: ReservedSpending, agent: Agent, call: Call, reply: Reply) -> None:
        self._spending = spending
        self._agent = agent
        self._call = call
        self._reply = reply
        self._worst = Amounts()

    async def __aenter__(self) -> None:
        self._worst = await self._spending.take(self._agent, self._call)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        was_refused = kind is not None and issubclass(kind, UpstreamError)
        usage = self._reply.usage or self._estimate(was_refused=was_refused)
        self._spending.settle(self._worst, self._call.model, usage)

    def _estimate(self, *, was_refused: bool) -> Usage:
        """Return the usage of a call whose server reported none, as `Bill` estimates it."""
        if not self._reply.was_sent or (was_refused and not self._reply.token_chunks):
            return Usage()
        return Usage.estimate(self._call.messages, self._reply.text)
