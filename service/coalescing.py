"""Load-adaptive coalescing: under load, a short wait lets many tokens share one wake-up.

To read or write a single token costs a system call, a wake-up of the event loop and a pass
through several layers. An idle process does that for the lowest latency. A busy process does it
once per `window_s`, which leaves CPU time for more runs, as network cards do with interrupts
(interrupt moderation). The first token and the final event never wait.
"""

from __future__ import annotations

import asyncio
import time

WINDOW_S = 0.008
LONG_WINDOW_S = 0.100
READER_WINDOW_S = 0.004
IDLE_CPU_SHARE = 0.10  # of one core; below it nothing is delayed
BUSY_CPU_SHARE = 0.40  # of one core; from here the full window applies
SAMPLE_INTERVAL_S = 0.25


class CoalescingWindow:
    """The seconds for which readers and writers may wait for more data: 0 without load.

    `window_s` applies to upstream text that a client is reading, `long_window_s` to text that no
    client sees yet, `reader_window_s` to readers of a log, whose events were coalesced already.
    """

    def __init__(self) -> None:
        self.window_s = 0.0
        self.long_window_s = 0.0
        self.reader_window_s = 0.0

    async def adapt(self) -> None:
        """Adjust the windows to the CPU usage of this process until cancelled."""
        share = 0.0
        while True:
            cpu, wall = time.process_time(), time.monotonic()
            await asyncio.sleep(SAMPLE_INTERVAL_S)
            used = (time.process_time() - cpu) / (time.monotonic() - wall)
            share = (share + used) / 2
            load = compute_load(share)
            self.window_s, self.long_window_s = load * WINDOW_S, load * LONG_WINDOW_S
            self.reader_window_s = load * READER_WINDOW_S


def compute_load(cpu_share: float) -> float:
    """Return the load, 0 to 1, of a process that uses `cpu_share` of one core."""
    return min(1.0, max(0.0, (cpu_share - IDLE_CPU_SHARE) / (BUSY_CPU_SHARE - IDLE_CPU_SHARE)))
