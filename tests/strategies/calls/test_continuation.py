"""Answers that break off after their first token, and are continued."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from service.events import AgentFailed, AgentFinished, AnswerDelta
from service.events.seams import AgentContinued, AnswerContinued
from service.llm.requests.continuation import choose_form
from service.llm.requests.learned import ModelTraits
from tests._support.llm.scripted import (
    DONE,
    a_catalog,
    an_ask,
    chunk,
    event,
    model,
)
from tests._support.runs.strategy_play import Outcome, play

TEXT = "The sky is blue because the air scatters the blue part of the sunlight most."


async def _solo(name: str, **more: Any) -> Outcome:
    keys = ("fallbacks", "retries", "idle_timeout_s", "timeout_s", "max_tokens", "continues_by")
    agent = {key: more.pop(key) for key in keys if key in more}
    return await play({"a": {"model": name, **agent}}, None, **more)


class _Server(httpx.AsyncBaseTransport):
    """Sends each of `streams` once, in order; records the requests."""

    def __init__(self, *streams: list[bytes | Exception] | httpx.Response) -> None:
        self.streams = list(streams)
        self.asked: list[dict[str, Any]] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(json.loads(await request.aread()))
        stream = self.streams.pop(0)
        if isinstance(stream, httpx.Response):
            return stream

        async def body() -> Any:
            for block in stream:
                if isinstance(block, Exception):
                    raise block
                yield block

        return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=body())


def _stream(text: str, end: str = "stop") -> list[bytes | Exception]:
    """Return a stream that ends with a reason, or is reset, or ends without a reason (cut)."""
    blocks: list[bytes | Exception] = [chunk(text[at : at + 5]) for at in range(0, len(text), 5)]
    if end == "reset":
        return [*blocks, httpx.ReadError("reset")]
    if end == "cut":
        return blocks
    if end == "error":
        return [*blocks, event({"error": {"message": "overloaded", "code": 503}})]
    return [*blocks, chunk(finish=end), DONE]


# --- the mock, in every place ---


@pytest.mark.parametrize("fault", ["reset", "cut", "error_object", "garbage", "stall"])
async def test_a_solo_answer_that_breaks_off_once_is_complete(fault: str) -> None:
    whole = await _solo(model(tokens=20))
    outcome = await _solo(
        model(tokens=20, fault=fault, after=7, times=1), retries=0, idle_timeout_s=2
    )
    assert outcome.answer == whole.answer
    assert outcome.good.degraded_by == ()
    seam = outcome.one(AnswerContinued)
    assert whole.answer[: seam.position].split() == whole.answer.split()[:7]
    assert outcome.one(AgentFinished).report.text == whole.answer
    assert not outcome.one(AgentFinished).report.partial


async def test_a_combiner_that_breaks_off_is_continued() -> None:
    agents = {"a": {"model": model("a")}}
    whole = await play(agents, {"model": model("combine", tokens=20)})
    broken = model("combine", tokens=20, fault="reset", after=9, times=1)
    outcome = await play(agents, {"model": broken})
    assert outcome.answer == whole.answer
    assert outcome.one(AnswerContinued).agent == "combine"
    at = outcome.events.index(outcome.one(AnswerContinued))
    before = "".join(each.text for each in outcome.events[:at] if isinstance(each, AnswerDelta))
    assert len(before) == outcome.one(AnswerContinued).position


async def test_an_agent_of_several_that_breaks_off_is_continued() -> None:
    agents = {"a": {"model": model("a", tokens=20, fault="cut", after=5, times=1)}}
    outcome = await play(agents, {"model": model("combine")})
    seam, finished = outcome.one(AgentContinued), outcome.one(AgentFinished)
    assert (seam.agent, seam.code) == ("a", "upstream_incomplete")
    assert len(finished.report.text.split()) == 20
    assert not outcome.good.missing


async def test_an_answer_is_continued_at_most_twice() -> None:
    outcome = await _solo(model(tokens=20, fault="reset", after=3), retries=0)
    assert len(outcome.server.asked) == 3
    assert len(outcome.of(AnswerContinued)) == 2
    assert outcome.bad.code == "upstream_incomplete"
    assert len(outcome.answer.split()) == 9
    assert outcome.one(AgentFailed).report.text == outcome.answer


@pytest.mark.parametrize("times", [0, 1])
async def test_continuation_can_be_limited_or_switched_off(times: int) -> None:
    outcome = await _solo(model(tokens=20, fault="cut", after=3), continues=times)
    assert len(outcome.of(AnswerContinued)) == times
    assert len(outcome.server.asked) == 1 + times
    assert outcome.error


async def test_the_second_continuation_is_that_of_a_fallback() -> None:
    outcome = await _solo(model(tokens=20, fault="cut", after=3), fallbacks=[model("b", tokens=30)])
    assert [seam.model.partition("?")[0] for seam in outcome.of(AnswerContinued)] == ["model", "b"]
    assert outcome.good.degraded_by == ("combiner",)
    assert outcome.server.asked_models() == ["model", "model", "b"]


async def test_a_continuation_that_fails_before_its_text_is_retried_or_replaced() -> None:
    server = _Server(
        _stream(TEXT[:30], "reset"), httpx.Response(503), _stream(TEXT[30:])
    )  # fmt: skip
    outcome = await _solo("m", server=server, retries=1)
    assert outcome.answer == TEXT
    server = _Server(_stream(TEXT[:30], "reset"), httpx.Response(404), _stream(TEXT[30:]))
    outcome = await _solo("m", server=server, retries=0, fallbacks=["b"])
    assert outcome.answer == TEXT
    assert server.asked[-1]["model"] == "b"


# --- usage, limits and forms of requests ---


async def test_the_tokens_of_all_parts_are_counted() -> None:
    first, second = _stream(TEXT[:30], "reset"), _stream(TEXT[30:])
    second.insert(
        -1, event({"choices": [], "usage": {"prompt_tokens": 50, "completion_tokens": 9}})
    )
    outcome = await _solo("m", server=_Server(first, second), prices=["m"])
    assert outcome.good.usage.output_tokens == 9 + 8  # a quarter of 30 characters
    assert outcome.good.usage.estimated
    assert outcome.good.cost == pytest.approx(outcome.good.usage.total_tokens)


async def test_the_rest_may_have_the_tokens_that_are_left() -> None:
    server = _Server(_stream(TEXT[:30], "reset"), _stream(TEXT[30:], "length"))
    outcome = await _solo("m", server=server, max_tokens=50)
    assert server.asked[0]["max_tokens"] == 50
    assert 30 <= server.asked[1]["max_tokens"] <= 45
    assert outcome.good.finish_reason == "length"


async def test_a_continuation_without_text_completes_the_answer() -> None:
    outcome = await _solo("m", server=_Server(_stream(TEXT, "cut"), _stream("")))
    assert outcome.answer == TEXT
    assert outcome.good.finish_reason == "stop"


async def test_a_refused_prefix_is_replaced_by_an_instruction_and_remembered() -> None:
    refusal = {"error": {"message": "Assistant response prefill is incompatible", "code": 400}}
    first = _Server(
        _stream(TEXT[:30], "reset"), httpx.Response(400, json=refusal), _stream(TEXT[20:])
    )
    outcome = await _solo("m", server=first, continues_by="prefix")
    assert outcome.answer == TEXT
    assert [asked["messages"][-1]["role"] for asked in first.asked] == ["user", "assistant", "user"]
    second = _Server(_stream(TEXT[:30], "reset"), _stream(TEXT[20:]))
    again = await _solo("m", server=second, continues_by="prefix", client=outcome.kit.client)
    assert again.answer == TEXT
    assert second.asked[1]["messages"][-1]["role"] == "user"


@pytest.mark.parametrize(
    ("url", "form"),
    [
        ("https://api.openai.com/v1", "instruction"),
        ("https://api.mistral.ai/v1", "flag"),
        ("https://api.deepseek.com", "instruction"),
        ("https://api.deepseek.com/beta", "flag"),
        ("https://api.anthropic.com/v1", "open"),
        ("https://api.groq.com/openai/v1", "open"),
        ("http://localhost:8000/v1", "open_by_fields"),
        ("https://models.example.com/v1", "instruction"),
    ],
)
def test_each_server_gets_its_form(url: str, form: str) -> None:
    text = f'default = "o"\n[agents.a]\nbase_url = "{url}"\n[ensembles.o]\nstrategy = "solo"\n'
    agent = a_catalog(f'{text}agents = ["a"]').agents["a"]
    assert choose_form(agent, ModelTraits(0.0)) == form
    assert choose_form(agent, ModelTraits(0.0, refuses_prefix=True)) == "instruction"


# --- answers that are not continued ---


async def test_a_tool_call_under_way_is_not_continued() -> None:
    call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": '{"a'}}
    stream: list[bytes | Exception] = [
        chunk("Let me see."),
        chunk(tool_calls=[call]),
        httpx.ReadError("reset"),
    ]
    outcome = await _solo("m", server=_Server(stream))
    assert outcome.bad.code == "upstream_incomplete"
    assert not outcome.of(AnswerContinued)


async def test_json_in_a_required_format_is_not_continued() -> None:
    parameters = {"response_format": {"type": "json_object"}}
    ask = an_ask()
    ask = an_ask(options=type(ask.options)(parameters=parameters))
    outcome = await _solo("m", server=_Server(_stream('{"a": 1', "reset")), ask=ask)
    assert outcome.error
    assert not outcome.of(AnswerContinued)


async def test_a_refusal_midway_is_not_continued() -> None:
    error = event({"error": {"message": "content policy", "type": "invalid_request_error"}})
    outcome = await _solo("m", server=_Server([chunk("Some text"), error]))
    assert outcome.error
    assert not outcome.of(AnswerContinued)


async def test_half_a_character_at_the_break_is_not_part_of_the_answer() -> None:
    half: bytes | Exception = (
        b'data: {"choices":[{"index":0,"delta":{"content":"ok \\ud83d"}}]}\n\n'
    )
    outcome = await _solo("m", server=_Server([half], _stream("🚀 go")))
    assert outcome.answer == "ok 🚀 go"
