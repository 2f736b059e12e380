"""Another answer from stored answers: the calls that it makes, its place, and refusals."""

from __future__ import annotations

from typing import Any

import pytest

from service.access.principal import Principal
from service.errors import RequestError
from service.events import AgentFinished, RunFinished
from service.events.findings import VoteFinished
from service.runs.resynthesis import Resynthesis, make_resynthesis
from service.runs.run import LiveRun, Run
from tests._support.llm.scripted import model
from tests._support.runs.service import COMBINER, Service, service

AGENTS: dict[str, Any] = {name: {"model": model(name)} for name in "abc"}
ME = Principal(owner="anonymous")


async def _again(it: Service, run: Run, **wish: Any) -> LiveRun:
    start = await make_resynthesis(
        it.memory.runs, it.tools.catalog(), ME, run.id, Resynthesis(**wish)
    )
    again = await it.runs.open(start)
    assert isinstance(again, LiveRun)
    await it.read(again)
    await it.journal.settle(30)
    return again


async def _refusal(it: Service, run: Run, **wish: Any) -> RequestError:
    with pytest.raises(RequestError) as caught:
        await _again(it, run, **wish)
    return caught.value


async def test_only_the_combiner_is_called_again() -> None:
    async with service(AGENTS) as it:
        first = await it.finish()
        it.server.asked.clear()
        again = await _again(it, first, prompt="Be brief.")
        assert it.server.asked_models() == ["combine"]
        assert it.server.asked[0]["messages"][0] == {"role": "system", "content": "Be brief."}
        reports = [e.report for e in again.log.after(0) if isinstance(e, AgentFinished)]
        assert [report.agent for report in reports] == ["a", "b", "c"]
        assert all(report.reused for report in reports)


async def test_a_vote_makes_no_call_at_all() -> None:
    async with service(AGENTS) as it:
        first = await it.finish()
        it.server.asked.clear()
        again = await _again(it, first, strategy="vote")
        assert set(it.server.asked_models()) <= {"combine"}  # the judge of a tie
        events = again.log.after(0)
        assert any(isinstance(event, VoteFinished) for event in events)
        assert isinstance(events[-1], RunFinished)


async def test_the_new_run_takes_the_place_of_the_old_one_and_can_be_repeated() -> None:
    async with service(AGENTS) as it:
        first = await it.finish()
        second = await _again(it, first)
        third = await _again(it, first, strategy="auto")
        assert (second.retry_of, third.retry_of) == (first.id, second.id)
        assert third.conversation_id == first.conversation_id


async def test_a_strategy_that_calls_agents_is_refused() -> None:
    async with service(AGENTS) as it:
        first = await it.finish()
        for strategy in ("race", "council", "layers", "solo", "unknown"):
            error = await _refusal(it, first, strategy=strategy)
            assert (error.code, error.details[0].field) == ("bad_request", "strategy")


async def test_unknown_names_are_refused() -> None:
    async with service(AGENTS) as it:
        first = await it.finish()
        assert (await _refusal(it, first, ensemble="none")).code == "unknown_ensemble"
        assert (await _refusal(it, first, combiner="none")).details[0].field == "combiner"


async def test_two_answers_are_too_few_for_a_vote() -> None:
    async with service({"a": AGENTS["a"], "b": AGENTS["b"]}) as it:
        error = await _refusal(it, await it.finish(), strategy="vote")
        assert "three" in error.message


async def test_a_run_without_answers_is_a_conflict() -> None:
    failing = {"a": {"model": model("a", fault="status", status=400)}}
    async with service(failing, combiner=COMBINER) as it:
        assert (await _refusal(it, await it.finish())).code == "no_stored_answers"


async def test_agents_that_had_failed_are_not_called() -> None:
    agents = {**AGENTS, "c": {"model": model("c", fault="status", status=400)}}
    async with service(agents) as it:
        first = await it.finish()
        it.server.asked.clear()
        await _again(it, first)
        assert it.server.asked_models() == ["combine"]
