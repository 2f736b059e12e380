"""Processes that stop for a while, machines that lose each other, and clocks that differ or step.

A run gets one end, no event number has two contents, and no delivered event is lost.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from tests._support.clients.api import Api, asking, assert_whole, client_of, follow, until
from tests._support.clients.breakable_line import Line, line_to
from tests._support.clients.recorded_streams import raw
from tests._support.recovery.installation import Installation
from tests._support.recovery.observers import (
    QUICK_LEASE,
    silence_is_noticed,
    stop_outside_of_transactions,
)
from tests._support.recovery.witness import Witness
from tests._support.servers.faketime import SteppingClock, shift_clock
from tests._support.servers.processes import Process

SOME = 40  # events, with which a run is well under way
APART = {"SPOOL_DIR": "spool-of-its-own"}  # relative to the folder of each service


@asynccontextmanager
async def _clients(*services: Process) -> AsyncIterator[list[Api]]:
    async with AsyncExitStack() as stack:
        clients = [client_of(service.url) for service in services]
        yield [await stack.enter_async_context(each) for each in clients]


async def _state(api: Api, run_id: str) -> str:
    return str((await api.shown(run_id))["state"])


# --- a process that stops for a while ---


async def test_a_process_that_was_stopped_continues_its_run_where_its_lock_is_seen(
    installation: Installation,
) -> None:
    first, second = installation.serve(**QUICK_LEASE), installation.serve(**QUICK_LEASE)
    async with _clients(first, second) as (one, other):
        async with one.asked(ensemble="long") as response:
            events = follow(response)
            seen = [await anext(events) for _ in range(SOME)]
            await stop_outside_of_transactions(first, installation.database_url)
            async with silence_is_noticed(installation.database_url):
                pass
            assert await _state(other, seen[0].run_id) == "running"
            first.signal(signal.SIGCONT)
            seen += [event async for event in events]
        assert_whole(seen)
        assert seen[-1].data["status"] == "Completed"
        assert raw(await other.replayed(seen[0].run_id)) == raw(seen)


async def test_on_sqlite_a_lock_is_seen_from_another_spool_folder(
    on_sqlite: Installation,
) -> None:
    settings = QUICK_LEASE | APART
    first, second = on_sqlite.serve(**settings), on_sqlite.serve(**settings)
    async with _clients(first, second) as (one, other):
        async with one.asked(ensemble="long") as response:
            events = follow(response)
            seen = [await anext(events) for _ in range(SOME)]
            await stop_outside_of_transactions(first, on_sqlite.database_url)
            async with silence_is_noticed(on_sqlite.database_url):
                pass
            assert await _state(other, seen[0].run_id) == "running"
            first.signal(signal.SIGCONT)
            seen += [await anext(events) for _ in range(SOME)]
            first.crash()  # the other one reads the spool that the lock names
        assert (await other.ended(seen[0].run_id))["state"] == "interrupted"
        whole = await other.replayed(seen[0].run_id)
        assert_whole(whole)
        assert raw(whole[: len(seen)]) == raw(seen)


async def test_a_process_that_was_taken_over_gives_its_readers_the_same_end(
    on_postgres: Installation,
) -> None:
    settings = QUICK_LEASE | APART
    first, second = on_postgres.serve(**settings), on_postgres.serve(**settings)
    witness = Witness()
    async with _clients(first, second) as (one, other), one.asked(ensemble="endless") as response:
        events = follow(response)
        await witness.read(events, SOME)
        first.signal(signal.SIGSTOP)
        assert (await other.ended(witness.run_id))["state"] == "interrupted"
        await witness.resume(other, witness.last_seq)
        there = witness.final
        first.signal(signal.SIGCONT)
        await witness.resume(one, SOME)  # at once, and again when all is settled
        await witness.read(events)
        assert there is not None
        assert witness.final == there
        assert there.data["interrupted_at"] < len(witness.events) - 1

        async def has_late_events() -> bool:
            shown = await other.shown(witness.run_id)
            return bool(shown["interrupted_at"] > there.data["interrupted_at"])

        await until(has_late_events)
        await witness.check(one)
        await witness.check(other)


# --- a process that ends ---


async def test_a_spool_that_returns_fills_the_gap_after_a_kill(on_postgres: Installation) -> None:
    settings = QUICK_LEASE | APART
    first, second = on_postgres.serve(**settings), on_postgres.serve(**settings)
    witness = Witness()
    async with _clients(first, second) as (one, other):
        async with one.asked(ensemble="endless") as response:
            await witness.read(follow(response), SOME)
            first.crash()
        shown = await other.ended(witness.run_id)
        assert shown["state"] == "interrupted"
        await witness.resume(other, 0)
        before = await other.replayed(witness.run_id)
        spools = str(first.folder / APART["SPOOL_DIR"])
        async with client_of(on_postgres.serve(**QUICK_LEASE, SPOOL_DIR=spools).url) as again:
            await witness.check(again)
        await witness.check(other)
        assert raw([(await other.replayed(witness.run_id))[-1]]) == raw([before[-1]])


# --- a machine that loses the database ---


@asynccontextmanager
async def _behind_a_line(installation: Installation) -> AsyncIterator[tuple[Line, Process]]:
    """Start a service whose connections to PostgreSQL pass a line that can be frozen."""
    address, _, name = installation.database_url.rpartition("/")
    async with line_to(int(address.rpartition(":")[2])) as line:
        url = f"{address.rpartition(':')[0]}:{line.port}/{name}"
        settings = {"DATABASE_URL": url, "MIGRATE_ON_START": "false", "STORE_TIMEOUT_S": "1"}
        service = await asyncio.to_thread(installation.serve, **QUICK_LEASE, **APART, **settings)
        yield line, service


async def _accepts_runs(service: Api) -> None:
    """Wait until a service has its lease again: the next heartbeat, up to a second later."""

    async def has_run() -> bool:
        response = await service.http.post("/api/process", json=asking("Are you back?"))
        if response.status_code == 503:
            assert "Retry-After" in response.headers
        return response.status_code == 200

    await until(has_run)


@pytest.mark.parametrize("ensemble", ["endless", "long"])  # the second ends during the partition
async def test_a_machine_cut_off_from_the_database_reports_no_end_of_its_own(
    on_postgres: Installation, ensemble: str
) -> None:
    second = on_postgres.serve(**QUICK_LEASE, **APART)
    witness = Witness()
    async with (
        _behind_a_line(on_postgres) as (line, first),
        _clients(first, second) as (one, other),
        one.asked(ensemble=ensemble) as response,
    ):
        events = follow(response)
        await witness.read(events, SOME)
        line.freeze()
        assert (await other.ended(witness.run_id))["state"] == "interrupted"
        await witness.resume(other, witness.last_seq)
        line.thaw()
        await witness.read(events)

        async def is_settled() -> bool:
            return bool((await other.shown(witness.run_id))["interrupted_at"] >= SOME)

        await until(is_settled)
        await witness.check(one)
        await witness.check(other)
        await _accepts_runs(one)
        assert (await one.ask())[-1].data["status"] == "Completed"


async def test_a_short_loss_of_the_database_delays_events_and_loses_none(
    on_postgres: Installation,
) -> None:
    async with (
        _behind_a_line_alone(on_postgres) as (line, first),
        client_of(first.url) as one,
        one.asked(ensemble="long") as response,
    ):
        events = follow(response)
        seen = [await anext(events) for _ in range(SOME)]
        line.freeze()

        async def is_refused() -> bool:
            answer = await one.http.get(f"/api/runs/{seen[0].run_id}")
            return answer.status_code == 503  # no lease: the store would have to answer

        await until(is_refused)
        line.thaw()
        seen += [event async for event in events]
        assert_whole(seen)
        assert seen[-1].data["status"] == "Completed"
        assert raw(await one.replayed(seen[0].run_id)) == raw(seen)


@asynccontextmanager
async def _behind_a_line_alone(installation: Installation) -> AsyncIterator[tuple[Line, Process]]:
    installation.serve(**QUICK_LEASE).end()  # it migrates the database
    async with _behind_a_line(installation) as pair:
        yield pair


# --- clocks ---


@pytest.mark.parametrize(("offset_s", "folders"), [(60, APART), (-40, {})])
async def test_clocks_of_two_machines_may_differ(
    on_postgres: Installation, offset_s: int, folders: dict[str, str]
) -> None:
    settings = {"LEASE_S": "6", "DETACH_GRACE_S": "1", **folders}
    second = on_postgres.serve(**settings)
    first = on_postgres.serve(**settings, **shift_clock(offset_s))
    async with _clients(first, second) as (one, other), AsyncExitStack() as stack:
        witnesses, reading = [], []
        for here, there in ((one, other), (other, one)):  # each run is read only at the other one
            witness = Witness()
            async with here.asked(ensemble="endless") as response:
                await witness.read(follow(response), SOME)
                address = f"/api/runs/{witness.run_id}/events?starting_after={SOME}"
                stream = await stack.enter_async_context(there.http.stream("GET", address))
            witnesses.append(witness)
            reading.append(asyncio.create_task(witness.read(follow(stream))))
        # Longer than a run continues after a mark of its readers, and than a worker is alive.
        async with silence_is_noticed(on_postgres.database_url, lease_s=15):
            pass
        for witness in witnesses:
            states = {await _state(api, witness.run_id) for api in (one, other)}
            assert states == {"running"}
            await one.http.post(f"/api/runs/{witness.run_id}/cancel")
        await asyncio.gather(*reading)
        for witness in witnesses:
            await witness.check(one)
            assert witness.final is not None
            assert witness.final.data["code"] == "cancelled"


@pytest.mark.parametrize("with_monotonic", [False, True])
async def test_a_clock_may_step_while_a_process_serves(
    on_postgres: Installation, tmp_path: Path, with_monotonic: bool
) -> None:
    clock = SteppingClock(tmp_path / "clock", with_monotonic=with_monotonic)
    second = on_postgres.serve(**QUICK_LEASE, **APART)
    first = on_postgres.serve(**QUICK_LEASE, **APART, **clock.settings)
    witness = Witness()
    async with _clients(first, second) as (one, other):
        async with one.asked(ensemble="endless") as response:
            events = follow(response)
            await witness.read(events, SOME)
            reading = asyncio.create_task(witness.read(events))
            for offset_s in (60, -40, 0):
                async with silence_is_noticed(on_postgres.database_url):
                    clock.step(offset_s)
            await other.http.post(f"/api/runs/{witness.run_id}/cancel")
            await other.ended(witness.run_id)
            await reading
        await witness.check(one)
        await witness.check(other)
