"""The strategy `solo`: the text of the single agent is the answer."""

from __future__ import annotations

from typing import Any

from service.domain import RequestOptions
from service.events import AgentFailed, AgentFinished, AnswerDelta, AnswerToolCall
from service.runs.projections.summary import summarize
from tests._support.llm.scripted import an_ask, model
from tests._support.runs.strategy_play import play


async def test_the_agents_text_streams_as_the_answer() -> None:
    told = await play({"a": {"model": model(tokens=5)}}, None)
    assert told.types() == ["agent.started", *["answer.delta"] * 5, "agent.finished"]
    assert told.answer == told.one(AgentFinished).report.text


async def test_the_answer_has_the_agents_name_as_its_source() -> None:
    told = await play({"a": {"model": model()}}, None)
    assert {event.agent for event in told.of(AnswerDelta)} == {"a"}
    assert (told.good.source, told.good.answered_by, told.good.degraded_by) == ("a", "a", ())


async def test_the_agents_failure_fails_the_run_with_its_code_and_name() -> None:
    told = await play({"a": {"model": model(fault="status", status=404)}}, None)
    assert (told.bad.code, told.bad.source) == ("upstream_refused", "a")
    assert told.one(AgentFailed).message == told.bad.message


async def test_text_before_a_failure_remains() -> None:
    told = await play({"a": {"model": model(fault="reset", after=2)}}, None)
    assert told.answer == told.one(AgentFailed).report.text
    assert told.kit.usage.estimated


async def test_tool_calls_stream_as_the_answer() -> None:
    tools = [{"type": "function", "function": {"name": "weather"}}]
    options: dict[str, Any] = {"tools": tools, "temperature": 0.5}
    ask = an_ask(options=RequestOptions(parameters=options))
    told = await play({"a": {"model": model(tool_calls=2, tokens=12)}}, None, ask=ask)
    (asked,) = told.server.asked
    assert options.items() <= asked.items()
    assert told.types()[-1] == "agent.finished"
    assert told.one(AgentFinished).report.finish_reason == "tool_calls"
    assert len(told.of(AnswerToolCall)) > 2
    assert [call.name for call in summarize(told.events).tool_calls] == ["weather", "weather"]
