"""Load: streams kept open in a closed loop, or arriving evenly, and what they measured."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from time import perf_counter
from types import TracebackType
from typing import Self

from bench.client import Address, ServerRequest, Tally, converse
from bench.processes import BenchError, Process, cpu_s, machine_cpu_s


@dataclass(frozen=True, slots=True)
class Question:
    """A request, what must come back, and how long that takes at best."""

    address: Address
    request: bytes
    tokens: int
    run_s: float


@dataclass(frozen=True, slots=True)
class Busy:
    """Shares of one core that the processes used; `others` is whatever else the machine did."""

    server: float
    mock: float
    load: float
    others: float

    def __str__(self) -> str:
        said = (
            f"server {self.server:.0%}, mock {self.mock:.0%}, load {self.load:.0%}, "
            f"others {self.others:.0%} of a core"
        )
        if max(self.mock, self.load) > 0.9:
            return f"**WARNING: a helper was the bottleneck**: {said}"
        return said


def busiest(many: Sequence[Busy]) -> Busy:
    """Return the highest share of each process."""
    return Busy(*(max(shares) for shares in zip(*map(astuple, many), strict=True)))


class Meter:
    """CPU used since it was made, by a server and by the helpers."""

    def __init__(self, server: Process, mock: Process) -> None:
        self._pids = (server.pid, mock.pid)
        self._began = perf_counter()
        self._before = self._now()

    def _now(self) -> list[float]:
        own = os.times()  # not cpu_s: the servers are children of this process
        used = [*map(cpu_s, self._pids), own.user + own.system]
        return [*used, machine_cpu_s() - sum(used)]

    def server_cpu_s(self) -> float:
        return cpu_s(self._pids[0]) - self._before[0]

    def busy(self) -> Busy:
        elapsed = perf_counter() - self._began
        used = [now - then for now, then in zip(self._now(), self._before, strict=True)]
        return Busy(*(max(0.0, each) / elapsed for each in used))


@dataclass(frozen=True, slots=True)
class Window:
    """What was read in one stretch of time, and the server's CPU seconds meanwhile."""

    tally: Tally
    cpu_s: float
    busy: Busy
    seconds: float

    @property
    def tokens_per_cpu_s(self) -> float:
        if not self.tally.tokens or not self.cpu_s:
            raise BenchError("A window was too short to measure anything.")
        return self.tally.tokens / self.cpu_s

    def gap_s(self, share: float) -> float:
        """Return the gap that `share` of the tokens do not exceed."""
        rank = int(share * (len(self.tally.gaps) + self.tally.without_gap))
        listed = sorted(self.tally.gaps)
        place = rank - self.tally.without_gap
        return listed[min(place, len(listed) - 1)] if place >= 0 and listed else 0.0


class Load:
    """A number of streams open at any time: whenever one has ended the next begins.

    Leaving the block lets the open ones finish, so that they do not burden what comes next.
    """

    def __init__(self, question: Question, server: Process, mock: Process, settle_s: float) -> None:
        self._question = question
        self._settle_s = settle_s
        self._server = server
        self._mock = mock
        self._tasks: list[asyncio.Task[None]] = []
        self._ending = False
        self._tally: Tally | None = None
        self._open: set[ServerRequest] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ending = True
        if error is not None:
            for task in self._tasks:
                task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=error is not None)

    async def raise_to(self, count: int) -> None:
        """Open streams until there are `count`, their starts spread over one run, and settle."""
        more = count - len(self._tasks)
        for number in range(more):
            delay_s = number * self._question.run_s / more
            self._tasks.append(asyncio.create_task(self._repeat(delay_s)))
        await self._wait(self._question.run_s + self._settle_s)

    async def measure(self, seconds: float) -> Window:
        """Return what happens in the next `seconds`."""
        self._watch(Tally())
        tally = self._tally
        assert tally is not None
        meter = Meter(self._server, self._mock)
        began = perf_counter()
        await self._wait(seconds)
        used_s, busy, elapsed_s = meter.server_cpu_s(), meter.busy(), perf_counter() - began
        self._watch(None)
        return Window(tally, used_s, busy, elapsed_s)

    def _watch(self, tally: Tally | None) -> None:
        self._tally = tally
        for exchange in self._open:
            exchange.tally = tally

    async def _wait(self, seconds: float) -> None:
        """Let time pass; a stream that fails meanwhile raises here."""
        done, _ = await asyncio.wait(
            self._tasks, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION
        )
        for task in done:
            task.result()

    async def _repeat(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        question = self._question
        while not self._ending:
            exchange = ServerRequest(question.request, self._tally)
            self._open.add(exchange)
            try:
                await converse(question.address, exchange, question.tokens)
            finally:
                self._open.discard(exchange)


async def arrive(question: Question, *, count: int, interval_s: float) -> list[ServerRequest]:
    """Ask `count` times, `interval_s` apart whatever the answers do; return all when all ended."""
    began = perf_counter()
    exchanges = [ServerRequest(question.request) for _ in range(count)]
    async with asyncio.TaskGroup() as group:
        for number, exchange in enumerate(exchanges):
            await asyncio.sleep(max(0.0, began + number * interval_s - perf_counter()))
            group.create_task(converse(question.address, exchange, question.tokens))
    return exchanges


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that `share` of `values` do not exceed."""
    listed = sorted(values)
    return listed[min(int(share * len(listed)), len(listed) - 1)]
