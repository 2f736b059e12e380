"""The replay server in process: which recorded call a request gets, and its form."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from service.mock_llm.wire import End, Plan
from service.replay.server import ReplayServer, replay_transport
from tests._support.runs.exports import (
    QUESTION,
    RUN_ID,
    a_document,
    a_failed_call,
    a_record,
    a_recorded_call,
)


def ask(server: ReplayServer, agent: str = "llm-1", text: str = QUESTION, **fields: Any) -> Plan:
    body = {"model": "m", "messages": [{"role": "user", "content": text}], **fields}
    path = f"/runs/{RUN_ID}/agents/{agent}/v1/chat/completions" if agent else "/v1/chat/completions"
    return server.respond("POST", path, json.dumps(body).encode())


def body_of(plan: Plan) -> bytes:
    return b"".join(step.data for step in plan.steps)


def text_of(plan: Plan) -> str:
    content: str = json.loads(body_of(plan))["choices"][0]["message"]["content"]
    return content


def named(text: str, **changes: Any) -> dict[str, Any]:
    return a_recorded_call(pieces=[{"after_ms": 5, "text": text}], **changes)


def test_each_attempt_gets_its_own_response_and_the_first_follows_the_last() -> None:
    busy = a_failed_call("upstream_busy", status=429, retry_after_s=1.5, pieces=[])
    server = ReplayServer([a_record(busy, a_recorded_call(at_ms=60))])
    first, second, third = (ask(server) for _ in range(3))
    assert (first.status, second.status, third.status) == (429, 200, 429)
    assert dict(first.headers)["retry-after"] == "1.5"


def test_the_calls_of_different_questions_do_not_disturb_each_other() -> None:
    server = ReplayServer([a_record(named("one"), named("two", at_ms=9))])
    texts = [text_of(ask(server, text=text)) for text in (QUESTION, "Other?", QUESTION, "Other?")]
    assert texts == ["one", "one", "two", "two"]


def test_agents_with_the_same_model_have_addresses_of_their_own() -> None:
    server = ReplayServer([a_record(named("one"), named("two", agent="llm-2"))])
    assert [text_of(ask(server, agent)) for agent in ("llm-2", "llm-1")] == ["two", "one"]


def test_copies_and_tasks_of_an_agent_have_its_address() -> None:
    calls = [named("copy", agent="llm-1#2"), named("analysis", agent="llm-1#analysis", at_ms=9)]
    server = ReplayServer([a_record(*calls)])
    assert [text_of(ask(server)) for _ in calls] == ["copy", "analysis"]


def test_a_hedge_that_won_answers_both_requests() -> None:
    slow = a_recorded_call(outcome="cancelled", pieces=[], took_ms=400, finish_reason="")
    hedge = named("won", at_ms=300, hedge=True)
    server = ReplayServer([a_record(slow, hedge, named("next", at_ms=900))])
    first, second = ask(server), ask(server)
    assert text_of(first) == text_of(second) == "won"
    assert first.wait_s == pytest.approx(0.35)


def test_a_hedge_that_lost_answers_no_request() -> None:
    lost = a_recorded_call(at_ms=30, hedge=True, outcome="cancelled", pieces=[])
    server = ReplayServer([a_record(named("won"), lost)])
    assert [text_of(ask(server)) for _ in range(2)] == ["won", "won"]


def test_the_pace_is_the_recorded_one_times_the_speed() -> None:
    record = a_record(a_recorded_call())
    for speed, factor in ((1.0, 1.0), (2.0, 0.5), (0.0, 0.0)):
        plan = ask(ReplayServer([record], speed=speed), stream=True)
        delays = [step.delay_s for step in plan.steps]
        assert delays[:3] == pytest.approx([0.03 * factor, 0.01 * factor, 0.01 * factor])
        assert not any(delays[3:])


def test_usage_is_sent_only_on_request() -> None:
    server = ReplayServer([a_record(a_recorded_call())])
    assert b'"usage"' not in body_of(ask(server, stream=True))
    with_usage = ask(server, stream=True, stream_options={"include_usage": True})
    assert b'"usage":{"prompt_tokens":3' in body_of(with_usage)


@pytest.mark.parametrize(
    ("code", "message", "end", "has_done"),
    [
        ("upstream_timeout", "", End.HANG, False),
        ("upstream_incomplete", "The connection to m was lost.", End.RESET, False),
        ("upstream_incomplete", "m ended its answer before.", End.CLEAN, False),
        ("upstream_bad_stream", "", End.CLEAN, False),
        ("upstream_failed", "", End.CLEAN, False),
        ("upstream_empty", "", End.CLEAN, True),
    ],
)
def test_a_response_that_broke_off_breaks_at_the_same_place(
    code: str, message: str, end: End, has_done: bool
) -> None:
    record = a_record(a_failed_call(code, message=message))
    plan = ask(ReplayServer([record]), stream=True)
    assert (plan.status, plan.end) == (200, end)
    assert "👋".encode() in body_of(plan)
    assert (b"[DONE]" in body_of(plan)) is has_done
    assert all(step.data for step in plan.steps), "an empty block would end a chunked body"


def test_an_unreachable_server_resets_the_connection() -> None:
    record = a_record(a_failed_call("upstream_unreachable", pieces=[]))
    plan = ask(ReplayServer([record]))
    assert (plan.status, plan.end) == (None, End.RESET)


def test_another_question_gets_the_recording_with_a_header_or_404_if_strict() -> None:
    record = a_record(a_recorded_call())
    lenient = ask(ReplayServer([record]), text="Something else?", stream=True)
    assert dict(lenient.headers)["x-replay"] == "other-question"
    assert "x-replay" not in dict(ask(ReplayServer([record]), stream=True).headers)
    strict = ReplayServer([record], is_strict=True)
    assert ask(strict, text="Something else?").status == 404
    assert ask(strict).status == 200


def test_of_several_runs_the_question_selects_one() -> None:
    other = a_document(named("other"))
    other["run"]["run_id"] = "run_" + "2" * 32
    other["request"]["question"] = "Other?"
    server = ReplayServer([a_record(named("first")), a_record(**other)])
    assert text_of(ask(server, "", "Other?")) == "other"
    assert text_of(ask(server, "")) == "first"


def test_the_event_stream_is_the_recorded_one() -> None:
    plan = ReplayServer([a_record()]).respond("POST", "/api/process", b"")
    expected = "".join(
        f"id: {RUN_ID}-{number}\ndata: {json.dumps(each['event'])}\n\n"
        for number, each in enumerate(a_document()["events"], 1)
    )
    assert body_of(plan) == expected.encode()
    assert [step.delay_s for step in plan.steps] == pytest.approx([0, 0.02, 0.03])


def test_events_without_times_are_spread_over_the_run() -> None:
    events = [{**each, "at_ms": None} for each in a_document()["events"]]
    plan = ReplayServer([a_record(events=events)]).respond("POST", "/api/process", b"{}")
    assert [step.delay_s for step in plan.steps] == pytest.approx([0, 0.025, 0.025])


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b"\xff", b'{"model": 1}', b"[" * 99_999]
)
def test_a_body_that_is_no_chat_request_is_400(body: bytes) -> None:
    server = ReplayServer([a_record(a_recorded_call())])
    assert server.respond("POST", "/v1/chat/completions", body).status == 400


@pytest.mark.parametrize("path", ["/", "/runs/x/v1/models", "/v1", "/runs//v1/x", "//", "/v1/é"])
def test_unknown_addresses_are_404(path: str) -> None:
    assert ReplayServer([a_record()]).respond("GET", path, b"").status == 404


async def test_the_transport_answers_an_http_client_in_a_test() -> None:
    transport = replay_transport(a_record(a_recorded_call()))
    async with httpx.AsyncClient(transport=transport, base_url="http://models/v1") as client:
        body = {"model": "m", "messages": [{"role": "user", "content": QUESTION}]}
        answer = (await client.post("/chat/completions", json=body)).json()
        models = (await client.get("/models")).json()
    assert answer["choices"][0]["message"]["content"] == "Blue 👋"
    assert [each["id"] for each in models["data"]] == ["m"]
