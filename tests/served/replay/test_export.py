"""`GET /api/runs/{id}/export`: everything that is stored of a run, as one document."""

from __future__ import annotations

import json
from typing import Any

import httpx

from tests._support.clients.api import Api, Event, answer_of, follow
from tests._support.clients.strange_ids import STRANGE_IDS

NO_RUN = "run_" + "0" * 32


async def export(api: Api, run_id: str) -> dict[str, Any]:
    response = await api.http.get(f"/api/runs/{run_id}/export")
    assert response.status_code == 200, response.text
    document: dict[str, Any] = response.json()
    return document


def list_data(events: list[Event]) -> list[str]:
    return [event.raw.partition(b"\ndata: ")[2].decode().rstrip("\n") for event in events]


async def test_the_events_are_those_that_the_client_received_byte_for_byte(api: Api) -> None:
    events = await api.ask('Grüße 👋 \u2028 "x"\n?', stream_agents=True, ensemble="again")
    document = await export(api, events[0].run_id)
    assert [json.dumps(each["event"]) for each in document["events"]] == list_data(events)


async def test_the_times_of_events_and_calls_are_those_of_the_run(api: Api) -> None:
    events = await api.ask(stream_agents=True)
    document = await export(api, events[0].run_id)
    assert document["timing"] == "recorded"
    times = [each["at_ms"] for each in document["events"]]
    assert times == sorted(times)
    assert times[0] < 50 + times[-1] / 2
    assert abs(times[-1] - document["run"]["elapsed_ms"]) < 2_000
    for call in document["calls"]:
        assert 0 <= call["at_ms"] <= times[-1]
        assert sum(piece["after_ms"] for piece in call["pieces"]) <= call["took_ms"]


async def test_each_call_has_what_the_model_answered(api: Api) -> None:
    # The model fails once for each question.
    events = await api.ask("Why does the first attempt fail?", ensemble="again")
    document = await export(api, events[0].run_id)
    answers = {agent["name"]: agent["answer"] for agent in document["run"]["agents"]}
    calls = document["calls"]
    assert [call["outcome"] for call in calls if call["agent"] == "again"] == ["failed", "answered"]
    for call in calls:
        if call["outcome"] == "answered":
            text = "".join(piece["text"] for piece in call["pieces"])
            assert text == answers[call["agent"]]
    assert document["run"]["answer"] == answer_of(events)
    refusal = next(call["failure"] for call in calls if call["outcome"] == "failed")
    assert (refusal["status"], refusal["retry_after_s"]) == (429, 0.05)


async def test_the_request_has_the_conversation_before_the_question(api: Api) -> None:
    first = await api.ask("First question?", ensemble="solo")
    conversation = first[0].data["conversation_id"]
    second = await api.ask("Second question?", ensemble="solo", conversation_id=conversation)
    request = (await export(api, second[0].run_id))["request"]
    assert [each["role"] for each in request["messages"]] == ["user", "assistant", "user"]
    assert request["messages"][0]["content"] == "First question?"
    assert request["messages"][1]["content"] == answer_of(first)
    assert request["question"] == "Second question?"


async def test_the_document_has_no_addresses_keys_or_owner(api: Api) -> None:
    events = await api.ask()
    document = await export(api, events[0].run_id)
    text = json.dumps(document)
    assert document["ensemble"]["agents"][0]["prompt"] == "Be inventive."
    for hidden in ("base_url", "key_env", "owner", "127.0.0.1", "sk-"):
        assert hidden not in text


async def test_the_document_is_a_file_for_browsers(api: Api) -> None:
    run_id = (await api.ask(ensemble="solo"))[0].run_id
    headers = (await api.http.get(f"/api/runs/{run_id}/export")).headers
    assert headers["content-disposition"] == f'attachment; filename="{run_id}.json"'


async def test_a_running_run_is_not_exported(api: Api) -> None:
    async with api.asked(ensemble="endless-answer") as response:
        async for event in follow(response):
            if event.type == "answer.delta":
                break
        run_id = response.headers["x-run-id"]
        refused = await api.http.get(f"/api/runs/{run_id}/export")
        await api.http.post(f"/api/runs/{run_id}/cancel")
    assert (refused.status_code, refused.json()["code"]) == (409, "run_not_finished")
    document = await export(api, run_id)
    assert document["run"]["state"] == "cancelled"
    assert [call["outcome"] for call in document["calls"]] == ["answered", "answered", "cancelled"]


async def test_unknown_runs_are_404(api: Api) -> None:
    for run_id in (NO_RUN, *STRANGE_IDS):
        response: httpx.Response = await api.http.get(f"/api/runs/{run_id}/export")
        assert response.status_code == 404, run_id


async def test_a_run_with_failing_agents_is_exported_with_their_failures(api: Api) -> None:
    events = await api.ask(ensemble="both-bad")
    document = await export(api, events[0].run_id)
    assert document["run"]["state"] == "failed"
    codes = [call["failure"]["code"] for call in document["calls"]]
    assert sorted(codes) == ["upstream_failed", "upstream_incomplete"]
