"""A service that is stopped, killed or replaced: its successor has its data."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

import pytest

from tests._support.clients.api import (
    answer_of,
    asking,
    assert_whole,
    client_of,
    events_of,
    follow,
    of_type,
)
from tests._support.clients.recorded_streams import raw, read_until
from tests._support.recovery.installation import Installation
from tests._support.servers.processes import Process, kill


def stop(process: Process) -> None:
    process.signal(signal.SIGTERM)
    assert process.wait() == 0


def crash(process: Process) -> None:
    process.crash()


@pytest.mark.parametrize("end", [stop, crash])
async def test_a_finished_run_is_the_same_after_a_restart(
    installation: Installation, end: Callable[[Process], None]
) -> None:
    service = installation.serve()
    async with client_of(service.url) as api:
        live = await api.ask(stream_agents=True, conversation_id="conv-1")
        shown = await api.shown(live[0].run_id)
    end(service)
    async with client_of(installation.serve().url) as api:
        assert raw(await api.replayed(live[0].run_id)) == raw(live)
        assert await api.shown(live[0].run_id) == shown
        for cut in range(0, len(live) + 1, 7):
            rest = await api.replayed(live[0].run_id, f"?starting_after={cut}")
            assert raw(rest) == raw(live[cut:])


async def test_a_run_cut_by_a_kill_ends_as_interrupted(
    installation: Installation,
) -> None:
    service = installation.serve()
    async with client_of(service.url) as api:
        seen = await read_until(api, "answer.delta", ensemble="endless", stream_agents=True)
        service.crash()
    run_id = seen[0].run_id
    async with client_of(installation.serve().url) as api:
        shown = await api.shown(run_id)
        headers = {"Last-Event-ID": seen[-1].id}
        response = await api.http.post("/api/process", json=asking(), headers=headers)
        rest = events_of(response.content)
        whole = await api.replayed(run_id)
    assert_whole(rest, after=len(seen))
    assert raw(whole) == raw(seen + rest)
    last = rest[-1].data
    assert (last["type"], last["status"], last["code"]) == ("run.failed", "error", "interrupted")
    assert last["partial"] is True
    assert last["message"].endswith(".")
    assert shown["state"] == "interrupted"
    assert shown["answer"] == answer_of(whole)
    assert shown["answer"].startswith(answer_of(seen))
    assert {agent["name"]: agent["state"] for agent in shown["agents"]}["one"] == "answered"


async def test_a_run_is_interrupted_only_once_over_several_restarts(
    installation: Installation,
) -> None:
    service = installation.serve()
    async with client_of(service.url) as api:
        run_id = await api.started(ensemble="endless")
        service.crash()
    seen = set()
    for _ in range(3):
        service = installation.serve()
        async with client_of(service.url) as api:
            seen.add(raw(await api.replayed(run_id)))
        service.crash()
    assert len(seen) == 1


async def test_a_run_ended_by_a_drain_is_stored_with_its_final_event(
    installation: Installation,
) -> None:
    service = installation.serve(DRAIN_S="0.2")
    async with client_of(service.url) as api, api.asked(ensemble="endless") as response:
        events = follow(response)
        seen = [await anext(events)]
        service.signal(signal.SIGTERM)
        seen += [event async for event in events]
    assert await asyncio.to_thread(service.wait) == 0
    assert seen[-1].data["code"] == "shutting_down"
    async with client_of(installation.serve().url) as api:
        assert raw(await api.replayed(seen[0].run_id)) == raw(seen)
        assert (await api.shown(seen[0].run_id))["state"] == "failed"


async def test_a_second_service_does_not_interrupt_the_runs_of_the_first(
    installation: Installation,
) -> None:
    first = installation.serve()
    async with client_of(first.url) as api, api.asked(ensemble="steady") as response:
        events = follow(response)
        seen = [await anext(events)]
        installation.serve(SPOOL_DIR=str(installation.folder / "another-spool"))
        seen += [event async for event in events]
    assert_whole(seen)
    assert seen[-1].data["status"] == "Completed"


async def test_the_run_of_a_killed_worker_is_interrupted_and_other_runs_continue(
    installation: Installation,
) -> None:
    service = installation.serve("--workers", "2")
    async with client_of(service.url) as api, client_of(service.url) as other:
        seen = await read_until(api, "answer.delta", ensemble="endless")
        for pid in service.workers:  # whichever has it; the parent starts others
            kill(pid)
        ended = await other.ended(seen[0].run_id)
        whole = await other.replayed(seen[0].run_id)
    assert ended["state"] == "interrupted"
    assert raw(whole[: len(seen)]) == raw(seen)
    assert of_type(whole, "run.failed")[-1]["code"] == "interrupted"
