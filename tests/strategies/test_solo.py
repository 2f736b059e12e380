"""The strategy `solo`: the text of the single agent is the answer."""

from __future__ import annotations

from typing import Any

from service.domain import RequestOptions
from service.events import AgentFailed, AgentFinished, AnswerDelta, AnswerToolCall
from service.runs.projections.summary import summarize
from tests._support.llm.scripted import an_ask, model
from tests._support.runs.strategy_play import play


async def test_the_agents_text_streams_as_the_answer() -> None:
    outcome = await play({"a": {"model": model(tokens=5)}}, None)
    assert outcome.types() == ["agent.started", *["answer.delta"] * 5, "agent.finished"]
    assert outcome.answer == outcome.one(AgentFinished).report.text


async def test_the_answer_has_the_agents_name_as_its_source() -> None:
    outcome = await play({"a": {"model": model()}}, None)
    assert {event.agent for event in outcome.of(AnswerDelta)} == {"a"}
    assert (outcome.good.source, outcome.good.answered_by, outcome.good.degraded_by) == (
        "a",
        "a",
        (),
    )


async def test_the_agents_failure_fails_the_run_with_its_code_and_name() -> None:
    outcome = await play({"a": {"model": model(fault="status", status=404)}}, None)
    assert (outcome.bad.code, outcome.bad.source) == ("upstream_refused", "a")
    assert outcome.one(AgentFailed).message == outcome.bad.message


async def test_text_before_a_failure_remains() -> None:
    outcome = await play({"a": {"model": model(fault="reset", after=2)}}, None)
    assert outcome.answer == outcome.one(AgentFailed).report.text
    assert outcome.kit.usage.estimated


async def test_tool_calls_stream_as_the_answer() -> None:
    tools = [{"type": "function", "function": {"name": "weather"}}]
    options: dict[str, Any] = {"tools": tools, "temperature": 0.5}
    ask = an_ask(options=RequestOptions(parameters=options))
    outcome = await play({"a": {"model": model(tool_calls=2, tokens=12)}}, None, ask=ask)
    (asked,) = outcome.server.asked
    assert options.items() <= asked.items()
    assert outcome.types()[-1] == "agent.finished"
    assert outcome.one(AgentFinished).report.finish_reason == "tool_calls"
    assert len(outcome.of(AnswerToolCall)) > 2
    assert [call.name for call in summarize(outcome.events).tool_calls] == ["weather", "weather"]
