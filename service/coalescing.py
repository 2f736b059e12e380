"""Load-adaptive coalescing: under load, wait a little so that many tokens cost one wake-up.

Reading or writing one token at a time costs a system call, a wake-up of the loop and a walk
through several layers each. When the process is idle that buys the lowest latency. When it is
busy the same work done once per `window_s` leaves CPU for more runs, as network cards do with
their interrupts (interrupt moderation). A first token and a final event never wait.
"""

from __future__ import annotations

import asyncio
import time

WINDOW_S = 0.008
LONG_WINDOW_S = 0.100
READER_WINDOW_S = 0.004
IDLE_SHARE = 0.10  # share of one core below which nothing is delayed
BUSY_SHARE = 0.40  # share from which the whole window applies
SAMPLE_S = 0.25


class CoalescingWindow:
    """How long, in seconds, readers and writers may wait for more: 0 while there is no load.

    `window_s` is for reading what somebody is looking at, `long_window_s` for what nobody sees
    yet. `reader_window_s` is for who follows a log: what it gets has gathered at its source.
    """

    def __init__(self) -> None:
        self.window_s = 0.0
        self.long_window_s = 0.0
        self.reader_window_s = 0.0

    async def adapt(self) -> None:
        """Follow the CPU use of this process until cancelled."""
        share = 0.0
        while True:
            cpu, wall = time.process_time(), time.monotonic()
            await asyncio.sleep(SAMPLE_S)
            used = (time.process_time() - cpu) / (time.monotonic() - wall)
            share = (share + used) / 2
            part = load(share)
            self.window_s, self.long_window_s = part * WINDOW_S, part * LONG_WINDOW_S
            self.reader_window_s = part * READER_WINDOW_S


def load(share: float) -> float:
    """Return from 0 to 1 how much a process is loaded that uses `share` of one core."""
    return min(1.0, max(0.0, (share - IDLE_SHARE) / (BUSY_SHARE - IDLE_SHARE)))
