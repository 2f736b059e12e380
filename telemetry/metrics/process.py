"""The health of this process: memory, CPU, file descriptors, and how late its event loop is.

Where there is no /proc, as on macOS, the process figures stay 0.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from time import perf_counter

from prometheus_client import ProcessCollector

from telemetry import semconv
from telemetry.metrics.registry import Metrics

_LAG_EVERY_S = 0.25
_PROCESS_EVERY = 20  # of these; listing 10,000 descriptors takes 3 ms


class ProcessHealth:
    """Reads the process's figures; prometheus-client's own would know one worker of several.

    `shows` put further figures on the page that are too many to write down as they change.
    """

    def __init__(self, metrics: Metrics, shows: Sequence[Callable[[], None]]) -> None:
        self._shows = shows
        self._loop_lag = metrics.loop_lag
        self._cpu = metrics.process_cpu
        self._gauges = {
            semconv.PROCESS_MEMORY.name: metrics.process_memory,
            semconv.PROCESS_OPEN_FDS.name: metrics.process_open_fds,
            semconv.PROCESS_MAX_FDS.name: metrics.process_max_fds,
            semconv.PROCESS_START.name: metrics.process_start,
        }
        self._collector = ProcessCollector(registry=None)
        self._cpu_s = 0.0
        self._lock = threading.Lock()  # a scrape and the watch may sample at once

    def sample(self) -> None:
        """Read the figures now; one that cannot be read keeps its last value."""
        for show in self._shows:
            show()
        with self._lock:
            for family in self._collector.collect():
                for sample in family.samples:
                    if sample.name == semconv.PROCESS_CPU.name:
                        self._cpu.inc(max(0.0, sample.value - self._cpu_s))
                        self._cpu_s = sample.value
                    elif gauge := self._gauges.get(sample.name):
                        gauge.set(sample.value)

    async def watch(self) -> None:
        """Follow the process and the running event loop until cancelled."""
        while True:
            await asyncio.to_thread(self.sample)
            for _ in range(_PROCESS_EVERY):
                began = perf_counter()
                await asyncio.sleep(_LAG_EVERY_S)
                self._loop_lag.observe(max(0.0, perf_counter() - began - _LAG_EVERY_S))
