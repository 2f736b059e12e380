"""The strategy `race`: the winner, the agents that it stops, and failures before and after."""

from __future__ import annotations

from typing import Any

from service.domain import AgentReport, RequestOptions, Usage
from service.events import AgentFailed, AgentFinished, AgentSkipped, AnswerDelta, AnswerToolCall
from tests._support.llm.scripted import an_ask, model, now
from tests._support.runs.strategy_play import Outcome, play


async def _race(**agents: Any) -> Outcome:
    tables = {name: {"model": options, "retries": 0} for name, options in agents.items()}
    return await play(tables, None, strategy="race")


async def test_the_first_agent_that_answers_is_streamed_and_the_others_are_stopped() -> None:
    outcome = await _race(
        a=model("a", first_ms=900, tokens=40), b=model("b", first_ms=100, tokens=40, gap_ms=10)
    )
    assert {event.agent for event in outcome.of(AnswerDelta)} == {"b"}
    assert outcome.one(AgentFinished).agent == "b"
    skipped = outcome.one(AgentSkipped)
    assert (skipped.agent, skipped.code) == ("a", "race_lost")
    assert skipped.report.usage.estimated
    assert outcome.good.answered_by == outcome.good.source == "b"
    assert outcome.good.degraded_by == ()
    assert len(outcome.of(AnswerDelta)) > 5
    assert now() < 1


async def test_an_agent_that_stalls_after_its_first_token_loses() -> None:
    outcome = await _race(
        a=model("a", first_ms=10, tokens=40, fault="stall", after=2),
        b=model("b", first_ms=500, tokens=40),
    )
    assert outcome.good.answered_by == "b"
    assert {event.agent for event in outcome.of(AnswerDelta)} == {"b"}


async def test_an_answer_that_is_shorter_than_the_start_wins_when_it_is_complete() -> None:
    outcome = await _race(
        a=model("a", tokens=1, first_ms=50), b=model("b", first_ms=400, tokens=40)
    )
    assert outcome.good.answered_by == "a"
    assert outcome.answer


async def test_an_agent_that_fails_leaves_the_race_to_the_others() -> None:
    outcome = await _race(
        a=model("a", fault="status", status=500), b=model("b", first_ms=500, tokens=40)
    )
    assert outcome.good.answered_by == "b"
    assert outcome.one(AgentFailed).agent == "a"
    assert [(each.agent, each.code) for each in outcome.good.missing] == [("a", "upstream_failed")]


async def test_when_all_agents_fail_the_run_fails_with_every_reason() -> None:
    outcome = await _race(
        a=model("a", fault="status", status=500), b=model("b", fault="status", status=400)
    )
    assert outcome.bad.code == "too_few_answers"
    assert "a:" in outcome.bad.message
    assert "b:" in outcome.bad.message


async def test_the_cost_of_the_stopped_agents_counts() -> None:
    names = {"a": model("a", first_ms=50, tokens=40), "b": model("b", first_ms=60, tokens=40)}
    tables = {name: {"model": options} for name, options in names.items()}
    outcome = await play(tables, None, strategy="race", prices=names.values())
    loser = outcome.one(AgentSkipped).report
    winner = outcome.one(AgentFinished).report
    assert loser.cost
    assert winner.cost
    assert outcome.good.cost == loser.cost + winner.cost


async def test_the_stopped_agents_hold_no_connection() -> None:
    outcome = await _race(a=model("a", tokens=40), b=model("b", fault="hang"))
    assert outcome.one(AgentSkipped).agent == "b"


async def test_a_client_may_offer_tools() -> None:
    tool = {"type": "function", "function": {"name": "weather", "parameters": {}}}
    ask = an_ask(options=RequestOptions(parameters={"tools": [tool]}))
    tables = {name: {"model": model(name, tool_calls=1)} for name in "ab"}
    outcome = await play(tables, None, strategy="race", ask=ask)
    assert {event.agent for event in outcome.of(AnswerToolCall)} == {outcome.good.answered_by}
    assert outcome.good.finish_reason == "tool_calls"


async def test_a_reused_answer_wins_without_a_call() -> None:
    report = AgentReport(
        agent="b", model="b", text="Known.", usage=Usage(1, 1), cost=None, elapsed_ms=1,
        first_token_ms=1, finish_reason="stop",
    )  # fmt: skip
    tables = {name: {"model": model(name)} for name in "ab"}
    outcome = await play(tables, None, strategy="race", reused={"b": report})
    assert (outcome.answer, outcome.server.asked) == ("Known.", [])
