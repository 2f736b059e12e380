"""Load generation: streams in a closed loop or at an even rate, with measurements."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from time import perf_counter
from types import TracebackType
from typing import Self

from bench.client import PROCESS, Address, Tally, TimedRequest, TokenFormat, perform
from bench.ensembles import GAP_MS
from bench.processes import BenchError, Measured, read_cpu_s, read_machine_cpu_s
from service.coalescing import FRAME_S, FULL_EVERY

# The longest p95 of the gaps between tokens with which a stream holds its pace: twice the pace, and
# the frame in which a busy service handles tokens together.
HELD_GAP_S = 2 * GAP_MS / 1000 + FULL_EVERY[0][1] * FRAME_S
_LONGEST_WINDOW_S = 20.0


@dataclass(frozen=True, slots=True)
class Question:
    """A request, the tokens expected in its response, and its ideal duration."""

    address: Address
    request: bytes
    tokens: int
    run_s: float
    form: TokenFormat = PROCESS


@dataclass(frozen=True, slots=True)
class CpuShares:
    """Shares of one core that each process used; `others` is the rest of the machine."""

    server: float
    mock: float
    load: float
    others: float

    def __str__(self) -> str:
        text = (
            f"server {self.server:.0%}, mock {self.mock:.0%}, load {self.load:.0%}, "
            f"others {self.others:.0%} of a core"
        )
        if max(self.mock, self.load) > 0.9:
            return f"**WARNING: a helper was the bottleneck**: {text}"
        return text


def find_highest_shares(many: Sequence[CpuShares]) -> CpuShares:
    """Return the highest share of each process."""
    return CpuShares(*(max(shares) for shares in zip(*map(astuple, many), strict=True)))


class Meter:
    """CPU time of the server, the mock and the load generator since the construction."""

    def __init__(self, server: Measured, mock: Measured) -> None:
        self._pids = (server.pid, mock.pid)
        self._started = perf_counter()
        self._before = self._read_cpu_s()

    def _read_cpu_s(self) -> list[float]:
        own = os.times()  # not read_cpu_s: the servers are children of this process
        used = [*map(read_cpu_s, self._pids), own.user + own.system]
        return [*used, read_machine_cpu_s() - sum(used)]

    def server_cpu_s(self) -> float:
        return read_cpu_s(self._pids[0]) - self._before[0]

    def read_shares(self) -> CpuShares:
        elapsed = perf_counter() - self._started
        used = [now - then for now, then in zip(self._read_cpu_s(), self._before, strict=True)]
        return CpuShares(*(max(0.0, each) / elapsed for each in used))


@dataclass(frozen=True, slots=True)
class Window:
    """The tokens read in one interval, and the server's CPU seconds in it."""

    tally: Tally
    cpu_s: float
    busy: CpuShares
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
    """A constant number of open streams: each one that ends is replaced by a new one.

    The exit of the block waits for the open streams, so that they do not affect later measurements.
    """

    def __init__(
        self, question: Question, server: Measured, mock: Measured, settle_s: float
    ) -> None:
        self._question = question
        self._settle_s = settle_s
        self._server = server
        self._mock = mock
        self._tasks: list[asyncio.Task[None]] = []
        self._is_ending = False
        self._tally: Tally | None = None
        self._open: set[TimedRequest] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_ending = True
        if error is not None:
            for task in self._tasks:
                task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=error is not None)

    async def raise_to(self, count: int) -> None:
        """Open streams up to `count`, spread over the time of a run, and let them settle."""
        more = count - len(self._tasks)
        for number in range(more):
            delay_s = number * self._question.run_s / more
            self._tasks.append(asyncio.create_task(self._repeat(delay_s)))
        await self._wait(self._question.run_s + self._settle_s)

    async def measure(self, seconds: float) -> Window:
        """Measure the next `seconds`, or longer until a token arrives."""
        self._set_tally(Tally())
        tally = self._tally
        assert tally is not None
        meter = Meter(self._server, self._mock)
        started = perf_counter()
        await self._wait(seconds)
        while not tally.tokens and perf_counter() - started < _LONGEST_WINDOW_S:
            await self._wait(seconds)
        used_s, busy, elapsed_s = (
            meter.server_cpu_s(),
            meter.read_shares(),
            perf_counter() - started,
        )
        self._set_tally(None)
        return Window(tally, used_s, busy, elapsed_s)

    def _set_tally(self, tally: Tally | None) -> None:
        self._tally = tally
        for request in self._open:
            request.tally = tally

    async def _wait(self, seconds: float) -> None:
        """Sleep; the failure of a stream in this time is raised here."""
        done, _ = await asyncio.wait(
            self._tasks, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION
        )
        for task in done:
            task.result()

    async def _repeat(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        question = self._question
        while not self._is_ending:
            request = TimedRequest(question.request, self._tally, question.form)
            self._open.add(request)
            try:
                await perform(question.address, request, question.tokens)
            finally:
                self._open.discard(request)


async def send_evenly(question: Question, *, count: int, interval_s: float) -> list[TimedRequest]:
    """Send `count` requests at an even rate, independent of the responses; return all."""
    started = perf_counter()
    requests = [TimedRequest(question.request, form=question.form) for _ in range(count)]
    async with asyncio.TaskGroup() as group:
        for number, request in enumerate(requests):
            await asyncio.sleep(max(0.0, started + number * interval_s - perf_counter()))
            group.create_task(perform(question.address, request, question.tokens))
    return requests


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that `share` of `values` do not exceed."""
    listed = sorted(values)
    return listed[min(int(share * len(listed)), len(listed) - 1)]
