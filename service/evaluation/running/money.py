"""The budget of an evaluation: the worst case of each run is reserved before it starts."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from service.store.budgets.units import NANO_PER_USD


@dataclass(slots=True)
class RunMoney:
    """Money of one run, in billionths of a US dollar; `cost_nano` is set when it has ended."""

    limit_nano: int | None
    cost_nano: int = 0

    @property
    def limit_usd(self) -> float | None:
        """The most that the run may cost; None without a limit."""
        return None if self.limit_nano is None else self.limit_nano / NANO_PER_USD


class Money:
    """The money that an evaluation has spent, in all its starts, and may still spend.

    `limit_nano` None: no limit. A run receives twice its worst case if that is left, so that an
    answer which broke off can be continued; else exactly its worst case, or it does not start.
    """

    def __init__(self, limit_nano: int | None, spent_nano: int) -> None:
        self.spent_nano = spent_nano
        self._limit_nano = limit_nano
        self._reserved_nano = 0
        self._settled = asyncio.Condition()

    @property
    def is_limited(self) -> bool:
        """Whether worst cases have to be known."""
        return self._limit_nano is not None

    async def take(self, worst_nano: int) -> RunMoney | None:
        """Reserve money for a run, to be settled after it; None if too little is left.

        While other runs hold reservations, it waits: they may return a part of theirs.
        """
        if self._limit_nano is None:
            return RunMoney(None)
        async with self._settled:
            while (left := self._limit_nano - self.spent_nano - self._reserved_nano) < worst_nano:
                if not self._reserved_nano:
                    return None
                await self._settled.wait()
            taken = min(2 * worst_nano, left)
            self._reserved_nano += taken
            return RunMoney(taken)

    async def settle(self, money: RunMoney) -> None:
        """Count the cost of a run that has ended, and return the rest of its reservation."""
        self.spent_nano += money.cost_nano
        async with self._settled:
            self._reserved_nano -= money.limit_nano or 0
            self._settled.notify_all()
