"""Memory that runs leave behind when their clients disconnect in the middle of the answer."""

from __future__ import annotations

import asyncio

from bench.client import TimedRequest, connect
from bench.ensembles import BenchEnsemble, MockAnswer
from bench.lab import Lab, Served
from bench.processes import BenchError
from bench.table import Line

_RUN_KB = 5.0
_AT_ONCE = 50
_EVENTS = 20  # of the answer, before the client disconnects
_WAIT_S = 20.0
_GRACE_S = 0.5


async def measure_abandoned(lab: Lab) -> list[Line]:
    """Abandon many runs after some events, and compare the memory after the first and the last."""
    answer = MockAnswer(tokens=2000, first_ms=5, gap_ms=10)
    ensemble = BenchEnsemble("long", MockAnswer(5), answer)
    warm_up, count = lab.choose((600, 3000), (50, 50))
    grace = {"DETACH_GRACE_S": str(_GRACE_S)}
    async with lab.run_service([ensemble], grace, needs_mock=True) as served:
        await _abandon(served, ensemble, warm_up)
        before = served.process.read_rss_bytes()
        await _abandon(served, ensemble, count)
        after = served.process.read_rss_bytes()
    run_kb = (after - before) / 1000 / count
    return [
        Line(
            f"memory left by each of {count} abandoned runs",
            f"{run_kb:.1f} KB",
            f"≤ {_RUN_KB:.0f} KB",
            f"after {_EVENTS} events, {_AT_ONCE} at once; resident {before / 1e6:.0f} MB after "
            f"{warm_up} such runs, then {after / 1e6:.0f} MB",
            lab.quick or run_kb <= _RUN_KB,
        )
    ]


async def _abandon(served: Served, ensemble: BenchEnsemble, count: int) -> None:
    for start in range(0, count, _AT_ONCE):
        batch = min(_AT_ONCE, count - start)
        await asyncio.gather(*(_abandon_one(served, ensemble) for _ in range(batch)))
    await asyncio.sleep(2 * _GRACE_S + 1)  # the last runs end


async def _abandon_one(served: Served, ensemble: BenchEnsemble) -> None:
    request = await connect(served.address, TimedRequest(ensemble.request))
    try:
        async with asyncio.timeout(_WAIT_S):
            while request.tokens < _EVENTS:
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise BenchError(f"No {_EVENTS} events of a run within {_WAIT_S:g} s.") from None
    finally:
        request.abort()
