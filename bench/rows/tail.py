"""First answer tokens while 5 % of all calls are silent for 8 s, with and without hedges."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from statistics import median

from bench.client import TimedRequest
from bench.ensembles import BenchEnsemble, MockAnswer, format_no_hedges
from bench.lab import Lab, Served, fetch
from bench.load import percentile, send_evenly
from bench.processes import BenchError
from bench.table import Line

_SILENT = "&fault=pause&after=0&pause_ms=8000&rate=0.05"
_P99 = 1.3
_MORE_CALLS = 0.05
_CALLS = 3  # of a run: two agents and the combiner
_INTERVAL_S = 0.2  # few tokens and runs a second, so that the CPU adds little to the waits
_HEDGES = re.compile(rb"^fanout_hedges_total\{.*\} ([0-9.e+]+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class _Tail:
    """The first answer tokens of one configuration in seconds, and its hedges per call."""

    waits: Sequence[float]
    more_calls: float

    @property
    def ratio(self) -> float:
        return percentile(self.waits, 0.99) / median(self.waits)

    def __str__(self) -> str:
        p50, p99 = median(self.waits), percentile(self.waits, 0.99)
        return f"p50 {p50:.2f} s, p99 {p99:.2f} s"


async def measure_tail(lab: Lab) -> list[Line]:
    """Ask four services at the same time: adaptive ones with hedges, and fixed graces without.

    One of the adaptive ones has no silent calls: its ratio shows the effect of other load.
    """
    without = format_no_hedges(lab.mock_url)
    ensembles = {
        "adaptive": _make_ensemble("adaptive", _SILENT),
        "sound": _make_ensemble("sound", ""),
        "10": _make_ensemble("10", _SILENT, "straggler_grace_s = 10", without),
        "1": _make_ensemble("1", _SILENT, "straggler_grace_s = 1", without),
    }
    async with AsyncExitStack() as stack:
        services = {
            name: await stack.enter_async_context(lab.run_service([ensemble], needs_mock=True))
            for name, ensemble in ensembles.items()
        }
        found = await asyncio.gather(
            *(_measure(lab, services[name], ensembles[name]) for name in ensembles)
        )
    adaptive, sound, ten, one = found
    return [
        Line(
            "first answer token with 5 % of calls silent for 8 s, p99 against p50",
            f"{adaptive.ratio:.2f} ×",
            f"≤ {_P99} ×",
            f"{adaptive}, of {len(adaptive.waits)} runs",
            adaptive.ratio <= _P99,
        ),
        Line(
            "further calls for that, hedges per call",
            f"{adaptive.more_calls:.1%}",
            f"≤ {_MORE_CALLS:.0%}",
            "",
            adaptive.more_calls <= _MORE_CALLS,
        ),
        Line("the same without silent calls", f"{sound.ratio:.2f} ×", "", f"{sound}"),
        Line("the same with straggler_grace_s = 10, no hedges", f"{ten.ratio:.1f} ×", "", f"{ten}"),
        Line("the same with straggler_grace_s = 1, no hedges", f"{one.ratio:.1f} ×", "", f"{one}"),
    ]


def _make_ensemble(name: str, fault: str, settings: str = "", tables: str = "") -> BenchEnsemble:
    return BenchEnsemble(
        f"tail-{name}",
        MockAnswer(tokens=12, gap_ms=100, fault=fault),
        MockAnswer(tokens=3, gap_ms=100, fault=fault),
        min_answers=1,
        settings=settings,
        tables=tables,
    )


async def _measure(lab: Lab, served: Served, ensemble: BenchEnsemble) -> _Tail:
    warm_up, count = lab.choose(60, 2), lab.choose(600, 5)
    question = served.build_question(ensemble)
    requests: list[TimedRequest] = await send_evenly(
        question, count=warm_up + count, interval_s=lab.choose(_INTERVAL_S, 0.05)
    )
    page = await fetch(served.address, "/metrics")
    hedges = sum(float(each) for each in _HEDGES.findall(page))
    waits = [each.first_token - each.sent for each in requests[warm_up:]]
    if not all(each > 0 for each in waits):
        raise BenchError("A run had no answer.")
    return _Tail(waits, hedges / (_CALLS * len(requests)))
