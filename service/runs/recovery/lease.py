"""The lease: the time in which this worker may deliver events of its runs and accept new ones.

Each heartbeat extends it. Without one, other workers take the runs over, so this worker must have
stopped before. Each side measures with its own monotonic clock: no clocks are compared.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from service.errors import StorageUnavailable

Clock = Callable[[], float]

# Others take a worker over when its heartbeat has not changed for 4/3 of its lease. The lease
# counts from the start of the last successful heartbeat, and others see that heartbeat after its
# commit, so a third of the lease remains for a write in progress and for clocks of unequal speed.
STALE_FACTOR = 4 / 3
BEATS_PER_LEASE = 3  # two heartbeats in a row may fail


class Lease:
    """The lease of the worker `worker_id`; `duration_s` is its length in seconds.

    `is_contested` is whether a worker is registered that cannot see a lock of this one: it could
    take a run over that has ended here and whose end is not committed.
    """

    def __init__(self, worker_id: str, duration_s: float, clock: Clock) -> None:
        self.worker_id = worker_id
        self.duration_s = duration_s
        self.clock = clock
        self.is_contested = False
        self._until = -math.inf

    @property
    def is_held(self) -> bool:
        """Whether events may be delivered now."""
        return self.clock() < self._until

    @property
    def is_exclusive(self) -> bool:
        """Whether no other worker can end the runs of this one, now and soon."""
        return self.is_held and not self.is_contested

    def check(self) -> None:
        """Raise StorageUnavailable unless the lease is held."""
        if not self.is_held:
            raise StorageUnavailable("This process has no current heartbeat in the database.")

    def extend(self, heartbeat_started: float) -> None:
        """Hold the lease from the start of a successful heartbeat, a time of the clock."""
        self._until = max(self._until, heartbeat_started + self.duration_s)

    def hold_without_end(self) -> None:
        """Hold the lease while the process runs: a lock shows the others that it does."""
        self._until = math.inf


def read_monotonic_s() -> float:
    """Return the seconds of a clock that never steps, and that counts while the machine sleeps."""
    if hasattr(time, "CLOCK_BOOTTIME"):  # Linux, where the monotonic clock stops meanwhile
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()
