"""The stream of `/api/process`: its exact format, and every row of its table."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests._support.clients.api import (
    KEEP_ALIVE,
    Api,
    answer_of,
    asking,
    assert_whole,
    events_of,
    follow,
    of_type,
)
from tests._support.llm.mock_stats import Upstream

USAGE = {"input_tokens", "output_tokens", "total_tokens", "cached_tokens", "reasoning_tokens"}


def only(found: list[dict[str, Any]]) -> dict[str, Any]:
    (one,) = found
    return one


async def test_a_stream_is_numbered_without_a_gap_and_ends_with_its_only_final_event(
    api: Api,
) -> None:
    assert_whole(await api.ask())


async def test_every_event_carries_the_fields_that_clients_parse(api: Api) -> None:
    for event in await api.ask(conversation_id="conv-7"):
        assert event.data["message_id"] == "message_123"
        assert event.data["conversation_id"] == "conv-7"
        assert isinstance(event.data["status"], str)
        assert isinstance(event.data["source"], str)


async def test_the_statuses_come_in_the_order_existing_clients_know(api: Api) -> None:
    statuses = [event.data["status"] for event in await api.ask()]
    assert statuses[0] == "Accepted"
    assert statuses[1:3] == ["Sending to llm-1", "Sending to llm-2"]
    assert sorted(statuses[3:5]) == ["Received from llm-1", "Received from llm-2"]
    assert statuses[5] == "Combining via LLM 3"
    assert set(statuses[6:-1]) == {"Streaming"}
    assert statuses[-1] == "Completed"


async def test_the_first_event_says_what_was_accepted(api: Api) -> None:
    response = await api.http.post("/api/process", json=asking())
    first = events_of(response.content)[0]
    assert first.data == {
        "message_id": "message_123",
        "conversation_id": response.headers["x-conversation-id"],
        "status": "Accepted",
        "source": "service",
        "run_id": response.headers["x-run-id"],
        "trace_id": response.headers["x-trace-id"],
        "ensemble": "fanout",
        "agents": ["llm-1", "llm-2"],
        "type": "run.started",
        "seq": 1,
    }
    assert first.run_id == response.headers["x-run-id"]


async def test_an_agent_that_is_asked_is_named_with_its_model(api: Api) -> None:
    for name, data in zip(
        ("llm-1", "llm-2"), of_type(await api.ask(), "agent.started"), strict=True
    ):
        assert data["source"] == name
        assert data["status"] == f"Sending to {name}"
        assert data["model"].startswith("mock?")


async def test_an_agent_that_answered_comes_with_usage_cost_and_times(api: Api) -> None:
    for data in of_type(await api.ask(), "agent.finished"):
        assert data["status"] == f"Received from {data['source']}"
        assert set(data["usage"]) == USAGE
        assert data["usage"]["output_tokens"] == 20
        assert data["cost"] is None
        assert 0 < data["first_token_ms"] <= data["elapsed_ms"]
        assert "final" not in data


async def test_the_combiner_starts_with_the_names_whose_answers_it_uses(api: Api) -> None:
    data = only(of_type(await api.ask(), "combine.started"))
    assert data["status"] == "Combining via LLM 3"
    assert data["source"] == "llm-combine"
    assert data["used"] == ["llm-1", "llm-2"]


async def test_answer_text_streams_from_the_combiner_in_pieces(api: Api) -> None:
    pieces = of_type(await api.ask(), "answer.delta")
    assert len(pieces) > 1
    assert {(each["status"], each["source"]) for each in pieces} == {("Streaming", "llm-combine")}
    assert all(each["message"] for each in pieces)


async def test_the_end_sums_up_all_calls(api: Api) -> None:
    data = (await api.ask())[-1].data
    assert data["type"] == "run.finished"
    assert data["status"] == "Completed"
    assert data["source"] == "llm-combine"
    assert data["final"] is True
    assert data["usage"]["output_tokens"] == 20 + 20 + 30
    assert data["elapsed_ms"] > 0
    assert "cost" in data
    assert "degraded" not in data


async def test_cost_is_the_price_of_the_tokens(api: Api) -> None:
    data = (await api.ask(ensemble="solo"))[-1].data
    usage = data["usage"]
    assert data["cost"] == pytest.approx(
        (usage["input_tokens"] * 1.0 + usage["output_tokens"] * 2.0) / 1e6
    )


async def test_agents_texts_come_only_when_they_are_asked_for(api: Api) -> None:
    assert not of_type(await api.ask(), "agent.delta")
    events = await api.ask(stream_agents=True)
    assert_whole(events)
    shown = await api.shown(events[0].run_id)
    for agent in shown["agents"][:2]:
        said = [each for each in of_type(events, "agent.delta") if each["source"] == agent["name"]]
        assert {each["status"] for each in said} == {"Thinking"}
        assert "".join(each["message"] for each in said) == agent["answer"]


async def test_solo_streams_its_agents_answer(api: Api) -> None:
    events = await api.ask(ensemble="solo")
    assert_whole(events)
    assert not of_type(events, "combine.started")
    assert {each["source"] for each in of_type(events, "answer.delta")} == {"assistant"}
    assert events[-1].data["status"] == "Completed"
    assert events[0].data["ensemble"] == "solo"


async def test_an_agent_that_answers_in_one_piece_is_as_good(api: Api) -> None:
    events = await api.ask(ensemble="whole")
    assert len(of_type(events, "answer.delta")) == 1
    assert events[-1].data["usage"]["output_tokens"] == 20


async def test_text_outside_ascii_arrives_as_it_was_and_travels_as_ascii(api: Api) -> None:
    events = await api.ask("Grüße 👋\u2028\u0085", message_id="Nachricht-ß")
    assert b"".join(event.raw for event in events).isascii()
    assert {event.data["message_id"] for event in events} == {"Nachricht-ß"}
    odd = await api.ask(ensemble="odd-split_utf8")
    assert "Grüße 👋 an alle" in answer_of(odd)
    assert "\u2028" in answer_of(odd)


async def test_a_message_cannot_forge_an_event(api: Api) -> None:
    forged = 'x\n\ndata: {"final": true}\n\nid: 1\r\n\r\n'
    events = await api.ask(forged, message_id=forged)
    assert_whole(events)
    assert {event.data["message_id"] for event in events} == {forged}


async def test_the_same_message_id_may_come_with_another_question(api: Api) -> None:
    one = await api.ask("What is a tide?", message_id="same")
    other = await api.ask("What is a comet?", message_id="same")
    assert one[0].run_id != other[0].run_id
    assert answer_of(one) != answer_of(other)


async def test_a_conversation_id_is_made_when_none_is_given(api: Api) -> None:
    one, other = await api.ask(), await api.ask()
    assert len({event.data["conversation_id"] for event in one}) == 1
    assert one[0].data["conversation_id"] != other[0].data["conversation_id"]


async def test_max_tokens_bounds_each_answer(api: Api) -> None:
    usage = (await api.ask(max_tokens=5))[-1].data["usage"]
    assert usage["output_tokens"] == 5 + 5 + 5


async def test_timeout_s_ends_the_run(api: Api) -> None:
    last = (await api.ask(ensemble="endless-answer", timeout_s=0.5))[-1].data
    assert last["status"] == "error"
    assert last["final"] is True


async def test_a_stream_has_the_headers_that_keep_proxies_from_holding_it(api: Api) -> None:
    headers = (await api.http.post("/api/process", json=asking())).headers
    assert headers["content-type"].partition(";")[0] == "text/event-stream"
    assert headers["cache-control"] == "no-cache, no-transform"
    assert headers["x-accel-buffering"] == "no"
    assert re.fullmatch(r"run_[0-9a-f]{32}", headers["x-run-id"])
    assert headers["x-conversation-id"]


async def test_the_run_is_accepted_before_any_agent_has_answered(
    api: Api, upstream: Upstream
) -> None:
    async with api.asked(ensemble="hung") as response:
        events = follow(response)
        types = [(await anext(events)).type for _ in range(3)]
        assert types == ["run.started", "agent.started", "agent.started"]
        run_id = response.headers["x-run-id"]
        await api.http.post(f"/api/runs/{run_id}/cancel")


async def test_text_arrives_while_the_model_is_still_writing(api: Api, upstream: Upstream) -> None:
    async with api.asked(ensemble="endless-answer") as response:
        async for event in follow(response):
            if event.type == "answer.delta":
                break
        assert await upstream.open_streams() >= 1
        shown = await api.shown(response.headers["x-run-id"])
        assert shown["state"] == "running"
        await api.http.post(f"/api/runs/{shown['run_id']}/cancel")


async def test_silence_is_filled_with_comments(hasty: Api) -> None:
    async with hasty.asked(ensemble="hung") as response:
        received = b""
        async for block in response.aiter_raw():
            received += block
            if received.count(KEEP_ALIVE) >= 3:
                break
        assert_three_started(received)
        await hasty.http.post(f"/api/runs/{response.headers['x-run-id']}/cancel")


def assert_three_started(received: bytes) -> None:
    assert [event.data["seq"] for event in events_of(received)] == [1, 2, 3]


async def test_a_cheap_event_is_valid_json_of_the_same_shape(api: Api) -> None:
    """Deltas are written by hand for speed; they must not differ from what json writes."""
    for event in await api.ask(stream_agents=True, message_id='"\\\n', conversation_id="c"):
        line = event.raw.partition(b"data: ")[2].strip()
        assert json.dumps(json.loads(line)).encode() == line
