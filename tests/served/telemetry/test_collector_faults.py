"""A collector that fails: answers are unaffected, and every span is counted."""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import httpx
import pytest

from tests._support.clients.api import (
    Api,
    Event,
    answer_of,
    asking,
    assert_whole,
    client_of,
    events_of,
    of_type,
    until,
)
from tests._support.otlp import (
    BLACK_HOLE,
    PARTIAL,
    REFUSING,
    UNAVAILABLE,
    Behaviour,
    Protocol,
    Sink,
    assert_sound,
    slow,
)
from tests._support.patience import PATIENCE_S
from tests._support.servers.processes import Process, run_server, wait_for_exit
from tests._support.servers.service_log import assert_no_traceback, read_log_lines
from tests._support.servers.services import Start, Told
from tests._support.telemetry.metrics_page import Page, read_metrics

RUNS = 12
SPANS_OF_A_RUN = 13
END_S = 45.0  # unbounded it would be EXPORT_TIMEOUT_S at least
EXPORT_TIMEOUT_S = 90
HANDFUL = 4  # lines of log for one outage, however many batches it costs


def lines_of_export(process: Process) -> list[str]:
    """Return the log but for its lines of requests and runs."""
    said = [
        line["message"]
        for line in read_log_lines(process)
        if not line["logger"].startswith(("access", "service"))
    ]
    starts = ("{", "Warning:")  # of log lines, and of warnings at the start
    return said + [line for line in process.err.splitlines() if not line.startswith(starts)]


@dataclass(frozen=True)
class Account:
    """The fate of the spans as a page of metrics reports it."""

    sent: float
    failed: float
    dropped: float
    waiting: float

    @property
    def total(self) -> float:
        return self.sent + self.failed + self.dropped + self.waiting


def account_of(page: Page, kind: str = "traces") -> Account:
    items = "telemetry_export_items_total"
    return Account(
        sent=page(items, signal=kind, outcome="sent"),
        failed=page(items, signal=kind, outcome="failed"),
        dropped=page(items, signal=kind, outcome="dropped"),
        waiting=page("telemetry_export_queue_items", signal=kind),
    )


@dataclass
class Books:
    """Asks for the metrics and knows how many spans there must be."""

    api: Api
    made: int

    async def balanced(self) -> Account:
        """Wait until every span is accounted for, once.

        A page is not one moment: a batch may go from waiting to sent while it is made.
        """
        found: list[Account] = []

        async def even() -> bool:
            found.append(account_of(await read_metrics(self.api)))
            return found[-1].total == self.made

        await until(even)
        return found[-1]

    async def emptied(self) -> Account:
        """Wait until, besides, nothing waits any more."""
        while (account := await self.balanced()).waiting:
            await asyncio.sleep(0.1)
        return account


# --- one outage from the start to the end of a service ---


@dataclass(frozen=True)
class Outage:
    """The record of a service that never had a working collector."""

    begin_s: float
    end_s: float
    code: int
    runs: list[list[Event]]
    page: Page
    process: Process


def unreachable(stack: ExitStack) -> dict[str, str]:
    """Return the settings for a collector to which no connection is ever made."""
    full = stack.enter_context(socket.socket())
    full.bind(("127.0.0.1", 0))
    full.listen(0)
    for _ in range(3):  # the queue takes one or two; packets of all others are dropped
        waiting = stack.enter_context(socket.socket())
        waiting.setblocking(False)
        waiting.connect_ex(full.getsockname())
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{full.getsockname()[1]}"}


TROUBLES: dict[str, Behaviour | None] = {
    "dead": None,
    "unreachable": None,
    "refusing": REFUSING,
    "unavailable": UNAVAILABLE,
    "slow": slow(60),
    "black hole": BLACK_HOLE,
}
CASES: list[tuple[Protocol, str]] = [
    ("http/protobuf", "dead"),
    ("http/protobuf", "refusing"),
    ("http/protobuf", "unavailable"),
    ("http/protobuf", "slow"),
    ("http/protobuf", "black hole"),
    ("grpc", "dead"),
    ("grpc", "unreachable"),
]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: " ".join(case))
def outage(
    request: pytest.FixtureRequest, told: Told, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Outage]:
    protocol, trouble = request.param
    folder = tmp_path_factory.mktemp("outage")
    with ExitStack() as stack:
        sink = stack.enter_context(Sink(TROUBLES[trouble] or BLACK_HOLE))
        patience = {"OTEL_EXPORTER_OTLP_TIMEOUT": str(EXPORT_TIMEOUT_S)}
        settings = told(folder) | sink.variables(protocol) | patience
        if trouble == "unreachable":
            settings |= unreachable(stack)
        if trouble == "dead":
            sink.close()
        began = time.monotonic()
        with run_server(folder, "serve", "--port", "0", **settings) as process:
            begin_s = time.monotonic() - began
            with httpx.Client(base_url=process.url, verify=False, timeout=PATIENCE_S) as http:
                runs = [
                    events_of(http.post("/api/process", json=asking()).content) for _ in range(RUNS)
                ]
                page = Page(http.get("/metrics").text)
            began = time.monotonic()
            process.signal(signal.SIGTERM)
            code = process.wait()
            end_s = time.monotonic() - began
            yield Outage(begin_s, end_s, code, runs, page, process)


def test_the_collector_delays_neither_start_nor_exit(outage: Outage) -> None:
    assert outage.begin_s < END_S
    assert outage.end_s < END_S
    assert outage.code == 0


async def test_answers_are_the_same_as_with_a_working_collector(outage: Outage, api: Api) -> None:
    expected = await api.ask()
    for events in outage.runs:
        assert_whole(events)
        assert answer_of(events) == answer_of(expected)
        assert len(of_type(events, "agent.finished")) == len(of_type(expected, "agent.finished"))


def test_the_failure_is_logged_once_and_not_for_every_batch(outage: Outage) -> None:
    assert_no_traceback(outage.process)
    said = lines_of_export(outage.process)
    assert 1 <= len(said) <= HANDFUL, said


def test_every_span_is_counted_and_none_as_sent(outage: Outage) -> None:
    account = account_of(outage.page)
    assert account.sent == 0
    # A page is not one moment: a batch may be between two accounts, or in both.
    assert abs(account.total - RUNS * SPANS_OF_A_RUN) <= 64


# --- outages that end ---


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
async def test_spans_are_exported_again_after_the_collector_returns(
    start: Start, sink: Sink, protocol: Protocol
) -> None:
    service = start(**sink.variables(protocol))
    async with client_of(service.url) as api:
        response = await api.http.post("/api/process", json=asking())
        await sink.traced(response.headers["x-trace-id"])
        sink.close()
        for _ in range(3):
            assert_whole(await api.ask())
        sink.open()
        response = await api.http.post("/api/process", json=asking())
        assert_sound(await sink.traced(response.headers["x-trace-id"]))
        books = Books(api, 5 * SPANS_OF_A_RUN)
        account = await books.emptied()
        assert account.dropped == 0
        ids = {span.span_id for span in sink.spans()}
        assert len(ids) == account.sent
    service.signal(signal.SIGTERM)
    assert await wait_for_exit(service) == 0
    assert_no_traceback(service)
    assert len(lines_of_export(service)) <= HANDFUL


async def test_spans_beyond_the_queue_limit_are_dropped_and_counted(
    start: Start, sink: Sink
) -> None:
    sink.behave(BLACK_HOLE)
    patient = {"OTEL_BSP_MAX_QUEUE_SIZE": "20", "OTEL_EXPORTER_OTLP_TIMEOUT": "60"}
    service = start(**sink.variables(**patient))
    async with client_of(service.url) as api:
        for events in await asyncio.gather(*(api.ask() for _ in range(RUNS))):
            assert_whole(events)
        books = Books(api, RUNS * SPANS_OF_A_RUN)
        account = await books.balanced()
        assert account.sent == account.failed == 0
        assert account.waiting == 20
        sink.behave(PARTIAL)  # not counted as a failure: most of the items were accepted
        account = await books.emptied()
        assert account.sent >= 20
        assert account.failed == 0
        ids = {span.span_id for span in sink.spans()}
        assert len(ids) == account.sent
        before = account.dropped
        response = await api.http.post("/api/process", json=asking())
        assert_sound(await sink.traced(response.headers["x-trace-id"]))
        assert account_of(await read_metrics(api)).dropped == before
    service.signal(signal.SIGTERM)
    assert await wait_for_exit(service) == 0
    assert_no_traceback(service)
    assert len(lines_of_export(service)) <= HANDFUL


async def test_log_records_that_cannot_be_exported_are_counted_and_still_on_stderr(
    start: Start, sink: Sink
) -> None:
    sink.behave(BLACK_HOLE)
    service = start(
        **sink.variables(OTEL_LOGS_EXPORTER="otlp", OTEL_BLRP_MAX_QUEUE_SIZE="5"),
        OTEL_TRACES_EXPORTER="none",
    )
    async with client_of(service.url) as api:
        for _ in range(RUNS):
            assert_whole(await api.ask())
        account = account_of(await read_metrics(api), "logs")
        assert account.sent == account.failed == 0
        assert account.waiting == 5
        assert account.dropped >= 2 * RUNS - 5
    service.signal(signal.SIGTERM)
    assert await wait_for_exit(service) == 0
    assert_no_traceback(service)
    assert len([line for line in read_log_lines(service) if line["logger"] == "access"]) >= RUNS
    assert 1 <= len(lines_of_export(service)) <= HANDFUL
