"""Collectors in five conditions, and the span counts that a service reports.

well, slow and refusing: the process `bench.otlp_sink`. dead: a port without a listener. mute: a
port that never answers a connection attempt, as behind a firewall that drops packets.
"""

from __future__ import annotations

import re
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass

from bench.client import Address
from bench.lab import Lab, fetch, fetch_json

_ITEMS = re.compile(
    r'^telemetry_export_items_total\{(?=.*signal="traces").*outcome="(\w+)".*\} (\S+)', re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class Collectors:
    """The address of the sink and the URL of each collector, by condition."""

    sink: Address
    urls: dict[str, str]

    def build_environment(self, condition: str) -> dict[str, str]:
        """Return the variables that make a service export to the collector in `condition`."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.urls[condition]}

    async def count_spans(self) -> int:
        """Return the number of spans that the well collector has received."""
        return int((await fetch_json(self.sink, "/counts"))["spans"])


@asynccontextmanager
async def run_collectors(lab: Lab) -> AsyncIterator[Collectors]:
    """Run a collector in each condition."""
    async with lab.run_otlp_sink() as sink:
        with ExitStack() as stack:
            urls = {
                condition: f"{_url(sink)}/{condition}" for condition in ("well", "slow", "refusing")
            }
            urls["dead"] = _url(stack.enter_context(_dead()))
            urls["mute"] = _url(stack.enter_context(_mute()))
            yield Collectors(sink, urls)


async def read_export_counts(service: Address) -> dict[str, int]:
    """Return the numbers of spans sent, failed and dropped from the service's metrics."""
    page = (await fetch(service, "/metrics")).decode()
    return {outcome: int(float(count)) for outcome, count in _ITEMS.findall(page)}


def _url(address: Address) -> str:
    return f"http://{address[0]}:{address[1]}"


@contextmanager
def _dead() -> Iterator[Address]:
    """Bind a port without listening on it, so that connections are refused."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()


@contextmanager
def _mute() -> Iterator[Address]:
    """Listen with a full backlog; Linux then ignores connection attempts."""
    with socket.socket() as sock, ExitStack() as stack:
        sock.bind(("127.0.0.1", 0))
        sock.listen(0)
        for _ in range(2):  # one fills the backlog; whether a second fits depends on the kernel
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(sock.getsockname())
        yield sock.getsockname()
