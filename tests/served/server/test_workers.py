"""Several worker processes on one socket."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from contextlib import AsyncExitStack
from pathlib import Path

from tests._support.clients.api import Api, assert_whole, client_of, events_of, until
from tests._support.clients.worker_clients import wait_for_two_workers
from tests._support.servers.processes import is_alive, wait_for_exit
from tests._support.servers.services import Start

_SIZE = re.compile(r"^(\w+): +(\d+) kB$", re.MULTILINE)


async def metric(api: Api, series: str) -> float:
    page = (await api.http.get("/metrics")).text
    return sum(float(line.split()[-1]) for line in page.splitlines() if line.startswith(series))


def count_threads(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/task"))


def read_sizes_kb(pid: int) -> dict[str, int]:
    found = _SIZE.findall(Path(f"/proc/{pid}/smaps_rollup").read_text())
    return {name: int(size) for name, size in found}


async def test_a_killed_worker_is_replaced_and_a_drain_ends_all_workers(start: Start) -> None:
    service = start("--workers", "2", DRAIN_S="0.3")
    first, second = await wait_for_two_workers(service)
    assert "with 2 workers" in service.out

    os.kill(first, signal.SIGKILL)

    async def replaced() -> bool:
        return len([pid for pid in service.workers if is_alive(pid) and pid != first]) == 2

    await until(replaced)
    assert second in service.workers
    assert f"worker {first} exited with -9" in service.err
    # A connection each, so that both workers get some.
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(client_of(service.url)) for _ in range(12)]
        for api in clients:
            assert (await api.http.get("/health")).status_code == 200
        streams = [
            await stack.enter_async_context(api.asked(ensemble="endless-answer")) for api in clients
        ]
        service.signal(signal.SIGTERM)
        for body in await asyncio.gather(*(response.aread() for response in streams)):
            events = events_of(body)
            assert_whole(events)
            assert events[-1].data["code"] == "shutting_down"
    assert await wait_for_exit(service) == 0
    assert "Traceback" not in service.err


async def test_any_worker_shows_the_sum_of_all_without_the_gauges_of_exited_ones(
    start: Start,
) -> None:
    service = start("--workers", "2")
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(client_of(service.url)) for _ in range(10)]
        await asyncio.gather(*(api.ask() for api in clients))
        for api in clients:
            assert await metric(api, "fanout_runs_total{") == 10
            outcome = 'fanout_agent_outcomes_total{agent="llm-combine",outcome="answered"}'
            assert await metric(api, outcome) == 10
            assert await metric(api, "gen_ai_invoke_workflow_duration_seconds_count{") == 10
            assert await metric(api, "fanout_inflight_runs") == 0
            assert await metric(api, "fanout_open_streams") == 0

    async with client_of(service.url) as api:
        async with api.asked(ensemble="endless"):
            assert await metric(api, "fanout_inflight_runs") == 1
            before = await wait_for_two_workers(service)
            for pid in before:
                os.kill(pid, signal.SIGKILL)

        async def back() -> bool:
            return len(service.workers) == 2 and not set(before) & set(service.workers)

        await until(back)
        assert await metric(api, "fanout_inflight_runs") == 0
        assert await metric(api, "fanout_runs_total{") == 10


async def test_workers_drain_and_exit_when_their_supervisor_is_killed(start: Start) -> None:
    service = start("--workers", "2", DRAIN_S="20")
    workers = await wait_for_two_workers(service)
    async with client_of(service.url) as api, api.asked(ensemble="brief") as response:
        service.signal(signal.SIGKILL)
        events = events_of(await response.aread())
    assert_whole(events)
    assert events[-1].data["status"] == "Completed"

    async def ended() -> bool:
        return not any(is_alive(pid) for pid in workers)

    await until(ended)


async def test_workers_share_the_memory_of_the_imports(start: Start) -> None:
    """Each was a new interpreter with 80 MB of its own."""
    service = start("--workers", "2")
    first, second = await wait_for_two_workers(service)
    assert count_threads(service.pid) == 1, "a fork would lose a thread"
    for pid in (first, second):
        sizes = read_sizes_kb(pid)
        own_kb = sizes["Private_Dirty"] + sizes["Private_Clean"]
        assert own_kb < sizes["Rss"] / 2


async def test_ctrl_c_to_the_process_group_drains_once(start: Start) -> None:
    service = start("--workers", "2", DRAIN_S="20")
    workers = await wait_for_two_workers(service)
    async with client_of(service.url) as api, api.asked(ensemble="brief") as response:
        for pid in (*workers, service.pid):
            os.kill(pid, signal.SIGINT)
        events = events_of(await response.aread())
    assert events[-1].data["status"] == "Completed"
    assert await wait_for_exit(service) == 0


async def test_a_second_signal_ends_all_workers_at_once(start: Start) -> None:
    service = start("--workers", "2", DRAIN_S="100")
    workers = await wait_for_two_workers(service)
    async with client_of(service.url) as api, api.asked(ensemble="endless"):
        service.signal(signal.SIGTERM)
        await asyncio.sleep(0.5)
        service.signal(signal.SIGTERM)
        assert await wait_for_exit(service) != 0
    assert not any(is_alive(pid) for pid in workers)
