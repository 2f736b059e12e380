"""Tools through ensembles: the agent that may call them, by policy."""

from __future__ import annotations

from typing import Any

import pytest

from service.domain import Message, RequestOptions
from service.ensembles.catalog import EnsemblesError
from service.events import AnswerDelta, AnswerToolCall, CombineStarted
from service.events.findings import VoteFinished
from tests._support.llm.scripted import an_ask, model
from tests._support.runs.strategy_play import Outcome, play

TOOL = {"type": "function", "function": {"name": "weather", "parameters": {}}}
CALLING = {"tool_calls": 1}


async def _ask(
    policy: str, agents: dict[str, dict[str, Any]], combiner: Any = None, **more: Any
) -> Outcome:
    return await play(
        {name: {"model": model(name, **options)} for name, options in agents.items()},
        combiner,
        ask=an_ask(options=RequestOptions(parameters={"tools": [TOOL]})),
        tools_policy=policy,
        **more,
    )


async def test_with_primary_the_first_agent_answers_alone() -> None:
    agents: dict[str, dict[str, Any]] = {"a": CALLING, "b": {}}
    outcome = await _ask("primary", agents, {"model": model("combine")})
    assert outcome.server.asked_models() == ["a"]
    assert {event.agent for event in outcome.of(AnswerToolCall)} == {"a"}
    assert outcome.good.finish_reason == "tool_calls"


async def test_with_combiner_only_the_combiner_gets_the_tools() -> None:
    combiner = {"model": model("combine", **CALLING)}
    outcome = await _ask("combiner", {"a": CALLING, "b": {}}, combiner)
    offered = {asked["model"].partition("?")[0]: "tools" in asked for asked in outcome.server.asked}
    assert offered == {"a": False, "b": False, "combine": True}
    assert {event.agent for event in outcome.of(AnswerToolCall)} == {"combine"}
    assert outcome.good.finish_reason == "tool_calls"


async def test_with_vote_the_calls_of_most_agents_are_sent() -> None:
    agents: dict[str, dict[str, Any]] = {"a": {}, "b": CALLING, "c": CALLING}
    outcome = await _ask("vote", agents, {"model": model("combine")})
    assert "combine" not in outcome.server.asked_models()
    assert {event.agent for event in outcome.of(AnswerToolCall)} == {"b"}
    vote = outcome.one(VoteFinished)
    assert [group.agents for group in vote.groups] == [("b", "c"), ("a",)]
    assert vote.groups[1].answer == "no tool call"


async def test_with_vote_texts_of_most_agents_are_combined() -> None:
    agents: dict[str, dict[str, Any]] = {"a": {}, "b": {}, "c": CALLING}
    outcome = await _ask("vote", agents, {"model": model("combine")})
    assert outcome.one(CombineStarted).used == ("a", "b")
    assert outcome.of(AnswerDelta)
    assert not outcome.of(AnswerToolCall)


async def test_with_vote_and_without_a_combiner_a_text_of_the_majority_is_sent() -> None:
    agents: dict[str, dict[str, Any]] = {"a": {}, "b": {}, "c": CALLING}
    outcome = await _ask("vote", agents, strategy="vote")
    assert outcome.good.answered_by == "a"
    assert not outcome.of(AnswerToolCall)


async def test_the_result_of_a_tool_stays_behind_its_call() -> None:
    call = '{"id": "1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}'
    messages = (
        Message("user", "How is the weather?"),
        Message("assistant", "", f'{{"role": "assistant", "tool_calls": [{call}]}}'),
        Message("tool", "Sun.", '{"role": "tool", "tool_call_id": "1", "content": "Sun."}'),
    )
    ask = an_ask(messages=messages, options=RequestOptions(parameters={"tools": [TOOL]}))
    outcome = await play(
        {name: {"model": model(name)} for name in "ab"},
        {"model": model("combine")},
        ask=ask,
        tools_policy="combiner",
    )
    (sent,) = [each for each in outcome.server.asked if each["model"].startswith("combine")]
    assert [each["role"] for each in sent["messages"]] == ["user", "assistant", "tool", "user"]
    assert outcome.answer


@pytest.mark.parametrize(
    ("policy", "strategy"), [("combiner", "vote"), ("primary", "solo"), ("vote", "race")]
)
async def test_a_policy_that_cannot_work_is_refused(policy: str, strategy: str) -> None:
    names = "a" if strategy == "solo" else "abc"
    with pytest.raises(EnsemblesError, match="tools_policy"):
        await _ask(policy, {name: {} for name in names}, strategy=strategy)
