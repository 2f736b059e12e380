"""Batches of runs that are measured from their start to their complete end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from bench.client import TimedRequest
from bench.ensembles import GAP_MS, TOKENS, BenchEnsemble
from bench.lab import Lab, Served
from bench.load import CpuShares, Question, find_highest_shares, send_evenly
from bench.processes import BenchError

# A commit follows an end within 250 ms.
_SETTLE_S = 0.5


@dataclass(frozen=True, slots=True)
class Plan:
    """Batches of `count` requests `interval_s` apart, in turns: to the floor, then to the service.

    `tokens` and `gap_ms` are the pace of the floor, which is that of the answers.
    """

    turns: int
    count: int
    interval_s: float
    tokens: int = TOKENS
    gap_ms: int = GAP_MS


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch of requests that have all ended, and the server's CPU seconds for them."""

    requests: Sequence[TimedRequest]
    cpu_s: float
    busy: CpuShares

    @property
    def cpu_ms(self) -> float:
        """The server's CPU milliseconds per request."""
        if not self.cpu_s:
            raise BenchError("A batch was too short to measure anything.")
        return self.cpu_s / len(self.requests) * 1000

    def list_first_s(self, warm_up: int = 0) -> list[float]:
        """Return the seconds to the first answer tokens, without those of the first requests."""
        return [each.first_token - each.sent for each in self.requests[warm_up:]]


async def run_batch(
    lab: Lab, served: Served, question: Question, count: int, interval_s: float = 0.0
) -> Batch:
    """Send `count` requests `interval_s` apart, and wait for their ends; 0 for one instant."""
    meter = lab.start_meter(served)
    requests = await send_evenly(question, count=count, interval_s=interval_s)
    await asyncio.sleep(_SETTLE_S)
    return Batch(requests, meter.server_cpu_s(), meter.read_shares())


@dataclass(frozen=True, slots=True)
class Series:
    """The batches of one server, taken in turns with those of others."""

    name: str
    batches: Sequence[Batch]

    @property
    def cpu_ms(self) -> float:
        return median(each.cpu_ms for each in self.batches)

    @property
    def busy(self) -> CpuShares:
        return find_highest_shares([each.busy for each in self.batches])

    def list_ratios(self, floor: Series) -> list[float]:
        """Return the CPU of each batch in relation to that of the floor in the same turn."""
        pairs = zip(self.batches, floor.batches, strict=True)
        return [own.cpu_ms / bare.cpu_ms for own, bare in pairs]


async def run_in_turns(
    lab: Lab, served: Served, ensembles: Sequence[BenchEnsemble], plan: Plan
) -> list[Series]:
    """Send batches to the floor and to each of the ensembles in turns; the floor comes first."""
    targets = [
        ("floor", lab.floor, lab.build_floor_question(plan.tokens, plan.gap_ms)),
        *((each.name, served, served.build_question(each)) for each in ensembles),
    ]
    taken: dict[str, list[Batch]] = {name: [] for name, *_ in targets}
    for _ in range(plan.turns):
        for name, server, question in targets:
            taken[name].append(await run_batch(lab, server, question, plan.count, plan.interval_s))
    return [Series(name, batches) for name, batches in taken.items()]
