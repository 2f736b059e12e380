"""A client that makes runs of every kind for the observability stack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import httpx

from tests._support.clients.api import Event, asking, events_of
from tests._support.patience import PATIENCE_S


@dataclass(frozen=True)
class CompletedRun:
    """A run that was read to its end, and the id of its trace."""

    trace_id: str
    run_id: str
    events: Sequence[Event]


class ServiceClient:
    """A client of the service."""

    def __init__(self, url: str) -> None:
        self.http = httpx.Client(base_url=url, timeout=PATIENCE_S)

    def ask(self, ensemble: str = "fanout", message: str = "Why is the sky blue?") -> CompletedRun:
        """Ask and read the whole answer; the mock fails `again` once for each message."""
        answer = self.http.post("/api/process", json=asking(message, ensemble=ensemble))
        assert answer.status_code == httpx.codes.OK, answer.text
        headers = answer.headers
        return CompletedRun(headers["x-trace-id"], headers["x-run-id"], events_of(answer.content))

    def ask_and_leave(self, ensemble: str) -> str:
        """Ask, leave after the first bytes, and return the trace id."""
        with self.http.stream("POST", "/api/process", json=asking(ensemble=ensemble)) as answer:
            next(answer.iter_raw())
            return str(answer.headers["x-trace-id"])

    def resume(self, run_id: str) -> str:
        """Read a run's events again, and return the trace id of that request."""
        answer = self.http.get(f"/api/runs/{run_id}/events")
        assert answer.status_code == httpx.codes.OK, answer.text
        return str(answer.headers["x-trace-id"])

    def metric(self, series: str) -> float:
        """Return the sum over the lines of /metrics that start with `series`."""
        page = self.http.get("/metrics").text
        return sum(float(line.split()[-1]) for line in page.splitlines() if line.startswith(series))


@dataclass(frozen=True)
class Traffic:
    """The runs of the session, with the number for each ensemble in RUNS.

    `well`, `failed_agent`, `straggler` and `retried` are runs with an answer; `failed` has none.
    `resumed` is the trace of a request that read `well` again; `left` is that of a request with
    a client that disconnected.
    """

    well: CompletedRun
    failed_agent: CompletedRun
    straggler: CompletedRun
    retried: CompletedRun
    failed: CompletedRun
    resumed: str
    left: str

    RUNS: ClassVar[Mapping[str, int]] = {
        "fanout": 3,
        "one-status": 1,
        "straggling": 1,
        "again": 1,
        "both-bad": 1,
        "endless": 1,
    }
