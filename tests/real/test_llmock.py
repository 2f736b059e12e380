"""Every failure that llmock offers, through /api/process and OpenAI's API."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests._support.clients.api import Api, answer_of, assert_whole, client_of, of_type
from tests._support.real.chaos import Chaos
from tests._support.real.services import run_service


class Fault(NamedTuple):
    """A scripted failure of an agent alone: `code` is the run's, "" when it succeeds.

    `attempts` are the requests that llmock should see.
    """

    behavior: dict[str, Any]
    code: str
    attempts: int


def fail(status: int, **more: Any) -> dict[str, Any]:
    return {"type": "fail", "status": status, "times": None, **more}


def stream_fault(kind: str, **more: Any) -> dict[str, Any]:
    return {"type": "stream_fault", "kind": kind, "after_chunks": 3, "times": None, **more}


FAULTS = {
    "none": Fault({"type": "delay", "seconds": 0}, "", 1),
    "slow response": Fault({"type": "delay", "seconds": 0.5}, "", 1),
    "slow first token": Fault({"type": "slow_first_token", "seconds": 1}, "", 1),
    "unavailable once": Fault(fail(503, times=1), "", 2),
    "server error once": Fault(fail(500, times=1), "", 2),
    "overloaded twice": Fault(fail(529, times=2), "", 3),
    "rate limit once": Fault(fail(429, retry_after=1, times=1), "", 2),
    "outage": Fault(fail(503), "upstream_failed", 3),
    "bad request": Fault(fail(400), "upstream_invalid_request", 1),
    "wrong key": Fault(fail(401), "upstream_refused", 1),
    "forbidden": Fault(fail(403), "upstream_refused", 1),
    "no such model": Fault(fail(404), "upstream_refused", 1),
    "unprocessable": Fault(fail(422), "upstream_invalid_request", 1),
    "prompt too long": Fault(
        fail(400, code="context_length_exceeded", message="maximum context length is 8 tokens"),
        "context_length_exceeded",
        1,
    ),
    "connection dropped": Fault(stream_fault("disconnect"), "upstream_incomplete", 1),
    "cut off without a reason": Fault(stream_fault("truncate"), "upstream_incomplete", 1),
    "silence": Fault(stream_fault("stall", stall_seconds=8), "upstream_timeout", 1),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_an_agents_failure_has_its_code_and_number_of_attempts(
    chaos: Chaos, chaos_api: Api, name: str
) -> None:
    fault = FAULTS[name]
    chaos.script(fault.behavior)
    events = await chaos_api.ask("Tell me about the sea.", ensemble="solo")
    assert_whole(events)
    assert events[-1].data.get("code", "") == fault.code, events[-1].data
    assert len(chaos.requests()) == fault.attempts
    broken = {"connection dropped", "cut off without a reason", "silence"}
    if name in broken:
        assert events[-1].data["partial"]
        assert answer_of(events)
    elif not fault.code:
        assert answer_of(events).strip()
    mistakes = {"retry_after_ignored", "retried_non_retryable", "retry_storm", "no_backoff"}
    assert not mistakes & set(chaos.findings())


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("name", FAULTS)
async def test_openai_clients_receive_an_error_and_never_half_an_answer_as_whole(
    chaos: Chaos, chaos_api: Api, name: str, stream: bool
) -> None:
    fault = FAULTS[name]
    chaos.script(fault.behavior)
    messages = [{"role": "user", "content": "Tell me about the sea."}]
    body = {"model": "solo", "messages": messages, "stream": stream}
    response = await chaos_api.http.post("/v1/chat/completions", json=body)
    if stream and response.status_code == 200:
        data = [line[6:] for line in response.text.splitlines() if line.startswith("data: ")]
        errors = [each for each in data if '"error"' in each]
        assert bool(errors) == bool(fault.code), response.text
        assert (data[-1] == "[DONE]") == (not fault.code)
        finishes = [each for each in data if '"finish_reason":"stop"' in each.replace(" ", "")]
        assert bool(finishes) == (not fault.code)
    elif fault.code:
        assert response.status_code >= 400
        error = response.json()["error"]
        assert error["message"]
    else:
        assert response.status_code == 200, response.text
        assert response.json()["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize(
    "behavior",
    [fail(500), fail(429, retry_after=30), stream_fault("truncate"), stream_fault("disconnect")],
    ids=["error", "rate limit", "cut off", "dropped"],
)
async def test_a_fan_out_answers_although_one_agent_fails(
    chaos: Chaos, chaos_api: Api, behavior: dict[str, Any]
) -> None:
    chaos.script({**behavior, "times": 1})
    events = await chaos_api.ask("Tell me about the sea.")
    assert_whole(events)
    assert events[-1].data["status"] == "Completed", events[-1].data
    assert answer_of(events).strip()


@pytest.mark.parametrize(
    "path", ["v1", "mistral/v1", "groq/openai/v1", "together/v1", "perplexity/v1", "xai/v1"]
)
async def test_each_providers_answers_and_errors_are_understood(
    chaos: Chaos, path: str, tmp_path: Path
) -> None:
    url = chaos.url.removesuffix("v1") + path
    with run_service(tmp_path, url, "some-model", first_token_timeout_s=3) as process:
        async with client_of(process.url) as api:
            events = await api.ask("Tell me about the sea.")
            assert events[-1].data["status"] == "Completed", events[-1].data
            assert events[-1].data["usage"]["output_tokens"] > 0
            for status in (401, 404, 422, 429, 500):
                chaos.script(fail(status, message="The sea is closed today."))
                events = await api.ask("Tell me about the sea.", ensemble="solo")
                assert "The sea is closed today" in events[-1].data["message"], events[-1].data


async def test_tools_are_called_and_their_results_answered(chaos: Chaos, chaos_api: Api) -> None:
    tool = {
        "type": "function",
        "function": {
            "name": "get_weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
    messages: list[dict[str, Any]] = [{"role": "user", "content": "What is the weather in Paris?"}]
    body = {"model": "agent/llm-1", "messages": messages, "tools": [tool]}
    first = (await chaos_api.http.post("/v1/chat/completions", json=body)).json()["choices"][0]
    assert first["finish_reason"] == "tool_calls"
    (call,) = first["message"]["tool_calls"]
    assert call["function"]["name"] == "get_weather"
    json.loads(call["function"]["arguments"])
    result = {"role": "tool", "tool_call_id": call["id"], "content": "21 degrees"}
    messages += [first["message"], result]
    second = (await chaos_api.http.post("/v1/chat/completions", json=body)).json()["choices"][0]
    assert second["finish_reason"] == "stop"
    assert second["message"]["content"]


async def test_a_quota_is_waited_for_as_the_server_asks(chaos: Chaos, chaos_api: Api) -> None:
    chaos.script(fail(429, retry_after=2, times=1))
    events = await chaos_api.ask("Tell me about the sea.", ensemble="solo")
    assert events[-1].data["status"] == "Completed"
    assert of_type(events, "agent.retrying")
    first, second = chaos.requests()
    assert second["started_at"] - first["started_at"] >= 2
