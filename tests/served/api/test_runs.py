"""`/api/runs`: read a run, resume its stream from any position, cancel it."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from tests._support.clients.api import (
    Api,
    Event,
    answer_of,
    asking,
    assert_whole,
    events_of,
    follow,
    of_type,
    until,
)
from tests._support.llm.mock_stats import Upstream

NOBODY = "run_" + "0" * 32


def raw(events: list[Event]) -> bytes:
    return b"".join(event.raw for event in events)


async def test_a_finished_run_shows_agents_timings_usage_cost_and_answer(api: Api) -> None:
    events = await api.ask(conversation_id="conv-1")
    shown = await api.shown(events[0].run_id)
    assert shown["state"] == "completed"
    assert shown["run_id"] == events[0].run_id
    assert shown["message_id"] == "message_123"
    assert shown["conversation_id"] == "conv-1"
    assert shown["ensemble"] == "fanout"
    assert shown["answer"] == answer_of(events)
    assert shown["usage"] == events[-1].data["usage"]
    assert shown["cost"] == events[-1].data["cost"]
    assert shown["elapsed_ms"] == events[-1].data["elapsed_ms"]
    assert shown["events"] == len(events)
    assert [agent["name"] for agent in shown["agents"]] == ["llm-1", "llm-2", "llm-combine"]
    for agent in shown["agents"]:
        assert agent["state"] == "answered"
        assert agent["answer"]
        assert agent["elapsed_ms"] >= agent["first_token_ms"] > 0
        assert agent["usage"]["output_tokens"] in {20, 30}


async def test_a_running_run_shows_how_far_it_is(api: Api) -> None:
    async with api.asked(ensemble="endless-answer") as response:
        events = follow(response)
        async for event in events:
            if event.type == "answer.delta":
                break
        shown = await api.shown(response.headers["x-run-id"])
        states = {agent["name"]: agent["state"] for agent in shown["agents"]}
        assert shown["state"] == "running"
        assert shown["answer"]
        assert states == {"llm-1": "answered", "llm-2": "answered", "endless-combine": "running"}
        await api.http.post(f"/api/runs/{shown['run_id']}/cancel")


async def test_a_failed_run_shows_why(api: Api) -> None:
    events = await api.ask(ensemble="both-bad")
    shown = await api.shown(events[0].run_id)
    assert shown["state"] == "failed"
    assert shown["code"] == events[-1].data["code"]
    assert shown["message"] == events[-1].data["message"]
    assert [agent["state"] for agent in shown["agents"]] == ["failed", "failed"]
    assert all(agent["code"] and agent["message"] for agent in shown["agents"])


async def test_every_response_about_a_run_names_it(api: Api) -> None:
    run_id = (await api.ask(conversation_id="conv-2"))[0].run_id
    for path in ("", "/events", "/cancel"):
        method = "POST" if path == "/cancel" else "GET"
        response = await api.http.request(method, f"/api/runs/{run_id}{path}")
        assert response.headers["x-run-id"] == run_id
        assert response.headers["x-conversation-id"] == "conv-2"


async def test_a_finished_run_replays_the_same_bytes_and_closes(api: Api) -> None:
    live = await api.ask(stream_agents=True)
    response = await api.http.get(f"/api/runs/{live[0].run_id}/events")
    assert response.content == raw(live)
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["cache-control"] == "no-cache, no-transform"
    assert response.headers["x-accel-buffering"] == "no"


async def test_from_every_position_exactly_the_rest_is_replayed(api: Api) -> None:
    live = await api.ask()
    run_id = live[0].run_id
    for cut in range(len(live) + 1):
        by_query = await api.replayed(run_id, f"?starting_after={cut}")
        by_header = await api.replayed(run_id, headers={"Last-Event-ID": f"{run_id}-{cut}"})
        assert raw(by_query) == raw(by_header) == raw(live[cut:])


async def test_a_post_with_last_event_id_re_attaches_without_asking_again(
    api: Api, upstream: Upstream
) -> None:
    live = await api.ask()
    before = (await upstream.stats())["requests"]
    header = {"Last-Event-ID": live[4].id}
    for body in (asking(), None):
        response = await api.http.post("/api/process", json=body, headers=header)
        assert response.content == raw(live[5:])
        assert response.headers["x-run-id"] == live[0].run_id
    assert (await upstream.stats())["requests"] == before


async def test_a_browser_that_has_it_all_is_told_not_to_come_back(api: Api) -> None:
    live = await api.ask()
    headers = {"Last-Event-ID": live[-1].id, "Accept": "text/event-stream"}
    response = await api.http.get(f"/api/runs/{live[0].run_id}/events", headers=headers)
    assert response.status_code == 204
    assert response.content == b""


async def test_a_connection_cut_again_and_again_loses_and_repeats_nothing(api: Api) -> None:
    async with api.asked(ensemble="steady") as response:
        events = follow(response)
        received = [await anext(events) for _ in range(3)]
    run_id = received[0].run_id
    rounds = 0
    while not received[-1].data.get("final"):
        rounds += 1
        headers = {"Last-Event-ID": received[-1].id}
        url = f"/api/runs/{run_id}/events"
        async with api.http.stream("GET", url, headers=headers) as response:
            async for event in follow(response):
                received.append(event)
                if len(received) % 7 == 0:
                    break
    assert rounds > 3
    assert_whole(received)
    assert raw(received) == raw(await api.replayed(run_id))


async def test_a_late_joiner_gets_everything_from_the_start_and_then_what_is_new(api: Api) -> None:
    async with api.asked(ensemble="steady") as response:
        first = follow(response)
        async for event in first:
            if event.type == "answer.delta":
                break
        late = await api.replayed(response.headers["x-run-id"])
        assert_whole(late)
        assert late[-1].data["status"] == "Completed"


async def test_twenty_readers_at_once_see_the_same_bytes(api: Api) -> None:
    async with api.asked(ensemble="steady") as response:
        run_id = response.headers["x-run-id"]
        readers = [api.http.get(f"/api/runs/{run_id}/events") for _ in range(20)]
        seen, own = await asyncio.gather(asyncio.gather(*readers), response.aread())
    assert_whole(events_of(own))
    assert {each.content for each in seen} == {own}


async def test_twenty_readers_at_different_places_each_get_their_own_rest(api: Api) -> None:
    async with api.asked(ensemble="steady") as response:
        run_id = response.headers["x-run-id"]
        own = follow(response)
        received = [await anext(own) for _ in range(20)]
        readers = [api.replayed(run_id, f"?starting_after={after}") for after in range(20)]
        rests = await asyncio.gather(*readers)
        received += [event async for event in own]
    for after, rest in enumerate(rests):
        assert raw(rest) == raw(received[after:])


@pytest.mark.parametrize(
    "last_event_id",
    [
        *("7", "run_1", "-1", "../x-1", "x" * 5000 + "-1", "\xe9-1"),
        *(f"{NOBODY}{rest}" for rest in ("-", "-x", "--1", "-1-", "-1.5", f"-{'9' * 40}")),
    ],
)
async def test_a_malformed_last_event_id_is_400(api: Api, last_event_id: str) -> None:
    headers = {b"Last-Event-ID": last_event_id.encode("latin-1")}
    run_id = NOBODY
    for method, path in (("POST", "/api/process"), ("GET", f"/api/runs/{run_id}/events")):
        response = await api.http.request(method, path, headers=headers)
        assert response.status_code == 400
        assert response.json()["code"] == "bad_last_event_id"


@pytest.mark.parametrize("after", ["x", "-1", "1.5", "%00", "²", "9" * 40, "1e3", " 1"])
async def test_a_malformed_position_is_400(api: Api, after: str) -> None:
    run_id = (await api.ask(ensemble="solo"))[0].run_id
    response = await api.http.get(f"/api/runs/{run_id}/events", params={"starting_after": after})
    assert response.status_code == 400


async def test_a_position_that_is_not_there_yet_is_400(api: Api) -> None:
    events = await api.ask(ensemble="solo")
    run_id, beyond = events[0].run_id, len(events) + 1
    by_query = await api.http.get(f"/api/runs/{run_id}/events?starting_after={beyond}")
    header = {"Last-Event-ID": f"{run_id}-{beyond}"}
    by_header = await api.http.get(f"/api/runs/{run_id}/events", headers=header)
    assert by_query.status_code == by_header.status_code == 400


async def test_a_last_event_id_of_another_run_is_400(api: Api) -> None:
    one, other = await api.ask(ensemble="solo"), await api.ask(ensemble="solo")
    headers = {"Last-Event-ID": other[2].id}
    response = await api.http.get(f"/api/runs/{one[0].run_id}/events", headers=headers)
    assert response.status_code == 400


@pytest.mark.parametrize("run_id", [NOBODY, "x", "%00", "run_%0d%0a", "a" * 3000])
async def test_an_unknown_run_is_404(api: Api, run_id: str) -> None:
    for method, path in (("GET", ""), ("GET", "/events"), ("POST", "/cancel")):
        response = await api.http.request(method, f"/api/runs/{run_id}{path}")
        assert response.status_code == 404
        assert set(response.json()) == {"error", "code", "request_id", "trace_id"}


async def test_re_attaching_to_an_unknown_run_is_404(api: Api) -> None:
    headers = {"Last-Event-ID": f"{NOBODY}-1"}
    response = await api.http.post("/api/process", json=asking(), headers=headers)
    assert response.status_code == 404


async def test_events_no_longer_kept_are_410_and_the_answer_stays(hasty: Api) -> None:
    live = await hasty.ask(ensemble="solo")
    run_id = live[0].run_id
    before = await hasty.shown(run_id)

    async def gone() -> bool:
        return (await hasty.http.get(f"/api/runs/{run_id}/events")).status_code != 200

    await until(gone)
    attempts = [
        await hasty.http.get(f"/api/runs/{run_id}/events"),
        await hasty.http.post("/api/process", headers={"Last-Event-ID": live[0].id}),
    ]
    assert [each.status_code for each in attempts] == [410] * 2
    assert {each.json()["code"] for each in attempts} == {"run_expired"}
    assert await hasty.shown(run_id) == before
    assert (await hasty.http.post(f"/api/runs/{run_id}/cancel")).json() == before


async def test_cancelling_ends_the_run_and_closes_its_upstream_connections(
    api: Api, upstream: Upstream
) -> None:
    await until(upstream.quiet)
    before = await upstream.closed_early()
    async with api.asked(ensemble="endless") as response:
        events = follow(response)
        run_id = (await anext(events)).run_id

        async def both_asked() -> bool:
            return await upstream.open_streams() == 2

        await until(both_asked)
        cancelled = await api.http.post(f"/api/runs/{run_id}/cancel")
        assert cancelled.status_code == 200
        assert cancelled.json()["state"] == "cancelled"
        last = [event async for event in events][-1].data
    assert last["status"] == "error"
    assert last["code"] == "cancelled"
    assert last["final"] is True
    assert last["partial"] is False
    await until(upstream.quiet)
    assert await upstream.closed_early() - before == 2


async def test_cancelling_in_the_middle_of_the_answer_keeps_what_was_said(
    api: Api, upstream: Upstream
) -> None:
    async with api.asked(ensemble="endless-answer") as response:
        received = []
        async for event in follow(response):
            received.append(event)
            if len(of_type(received, "answer.delta")) == 2:
                await api.http.post(f"/api/runs/{event.run_id}/cancel")
    assert_whole(received)
    assert received[-1].data["partial"] is True
    shown = await api.shown(received[0].run_id)
    assert shown["answer"] == answer_of(received) != ""
    assert shown["usage"]["estimated"] is True
    assert shown["usage"]["output_tokens"] > 40
    await until(upstream.quiet)


async def test_cancelling_twice_or_at_once_or_after_the_end_changes_nothing(api: Api) -> None:
    run_id = await api.started(ensemble="endless")
    url = f"/api/runs/{run_id}/cancel"
    answers = await asyncio.gather(*(api.http.post(url) for _ in range(5)))
    answers.append(await api.http.post(url))
    assert {each.status_code for each in answers} == {200}
    assert {each.json()["state"] for each in answers} == {"cancelled"}
    assert len({each.json()["events"] for each in answers}) == 1
    finished = (await api.ask(ensemble="solo"))[0].run_id
    response = await api.http.post(f"/api/runs/{finished}/cancel")
    assert response.json()["state"] == "completed"


async def test_a_cancelled_run_replays(api: Api) -> None:
    run_id = await api.started(ensemble="endless")
    await api.http.post(f"/api/runs/{run_id}/cancel")
    assert_whole(await api.replayed(run_id))


async def test_run_ids_sort_by_time_and_are_never_the_same(api: Api) -> None:
    ids = [(await api.ask(ensemble="solo"))[0].run_id for _ in range(4)]
    assert len(set(ids)) == 4
    stamps = [run_id[4:16] for run_id in ids]
    assert all(one <= other for one, other in itertools.pairwise(stamps))
