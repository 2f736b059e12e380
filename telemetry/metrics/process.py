"""Metrics of this process: memory, CPU, file descriptors and event loop lag.

Without /proc, as on macOS, the process figures stay 0.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from time import perf_counter

from prometheus_client import ProcessCollector

from telemetry import semconv
from telemetry.metrics.registry import Metrics

_LAG_INTERVAL_S = 0.25
_LAGS_PER_SAMPLE = 20  # listing 10,000 file descriptors takes 3 ms


class ProcessHealth:
    """Samples the process's figures into metrics that also work with several workers.

    prometheus-client's own process metrics cover only the worker that answers the scrape.
    `callbacks` run at each sample: they set gauges that change too often to be set at every change.
    """

    def __init__(self, metrics: Metrics, callbacks: Sequence[Callable[[], None]]) -> None:
        self._callbacks = callbacks
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
        self._lock = threading.Lock()  # a scrape and `watch` may sample at the same time

    def sample(self) -> None:
        """Read the figures now; a figure that cannot be read retains its last value."""
        for callback in self._callbacks:
            callback()
        with self._lock:
            for family in self._collector.collect():
                for sample in family.samples:
                    if sample.name == semconv.PROCESS_CPU.name:
                        self._cpu.inc(max(0.0, sample.value - self._cpu_s))
                        self._cpu_s = sample.value
                    elif gauge := self._gauges.get(sample.name):
                        gauge.set(sample.value)

    async def watch(self) -> None:
        """Sample the process and measure the running event loop's lag, until cancelled."""
        while True:
            await asyncio.to_thread(self.sample)
            for _ in range(_LAGS_PER_SAMPLE):
                started = perf_counter()
                await asyncio.sleep(_LAG_INTERVAL_S)
                self._loop_lag.observe(max(0.0, perf_counter() - started - _LAG_INTERVAL_S))
