"""Collectors in every state, and what a service says became of its spans.

well, slow and refusing: a process of its own, `bench.otlp_sink`. dead: a port where nobody listens.
mute: one that never answers a connection attempt, as behind a firewall that drops packets.
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
    """Where each of them is."""

    sink: Address
    urls: dict[str, str]

    def told(self, feels: str) -> dict[str, str]:
        """Return the variables that make a service export to the collector that `feels` so."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.urls[feels]}

    async def spans(self) -> int:
        """Return how many spans the collector that is well has got."""
        return int((await fetch_json(self.sink, "/counts"))["spans"])


@asynccontextmanager
async def collectors(lab: Lab) -> AsyncIterator[Collectors]:
    """Offer one of each kind."""
    async with lab.otlp_sink() as sink:
        with ExitStack() as stack:
            urls = {feels: f"{_url(sink)}/{feels}" for feels in ("well", "slow", "refusing")}
            urls["dead"] = _url(stack.enter_context(_dead()))
            urls["mute"] = _url(stack.enter_context(_mute()))
            yield Collectors(sink, urls)


async def exported(service: Address) -> dict[str, int]:
    """Return how many spans a service has sent, failed to send, and dropped, by its metrics."""
    page = (await fetch(service, "/metrics")).decode()
    return {outcome: int(float(count)) for outcome, count in _ITEMS.findall(page)}


def _url(address: Address) -> str:
    return f"http://{address[0]}:{address[1]}"


@contextmanager
def _dead() -> Iterator[Address]:
    """Hold a port without listening on it: connections are refused."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()


@contextmanager
def _mute() -> Iterator[Address]:
    """Listen with a queue that is full: Linux then ignores who wants to connect."""
    with socket.socket() as sock, ExitStack() as stack:
        sock.bind(("127.0.0.1", 0))
        sock.listen(0)
        for _ in range(2):  # one fits; of the other nobody can tell
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(sock.getsockname())
        yield sock.getsockname()
