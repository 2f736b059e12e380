"""Time limits that leave out how late the event loop is."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from typing import Any

LOOP_FACTOR = 2
"""Times a limit, for timers of libraries that also count the delay of the event loop."""

_STEP_S = 0.05
_LONGEST_FACTOR = 5


@dataclass(slots=True)
class WaitingCaller:
    """A caller of a transaction; it `is_refused` once its time limit has passed."""

    is_refused: bool = False


async def wait_within(waiter: asyncio.Future[Any], limit_s: float) -> bool:
    """Wait until `waiter` is done, for `limit_s` at most; return whether it is.

    The time in which the event loop is late is not counted, since the database may have answered
    long before the loop notices it. The limit is counted in steps of 50 ms, and a step counts as
    50 ms however late its timer fires. In all, the wait takes 5 times the limit at most.
    A caller that is cancelled leaves `waiter` as it is.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + _LONGEST_FACTOR * limit_s
    steps = math.ceil(limit_s / _STEP_S)
    for _ in range(steps):
        if waiter.done() or loop.time() > until:
            break
        await asyncio.wait([waiter], timeout=limit_s / steps)
    return waiter.done()
