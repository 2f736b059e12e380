"""Retries: answers are reused and not paid twice, and the new run replaces the old one."""

from __future__ import annotations

from typing import Any

import pytest

from service.access.principal import Principal
from service.conversation import Continue
from service.domain import Message
from service.errors import RequestError
from service.events import AgentFinished, RunFinished
from service.runs.run import LiveRun, Run
from tests._support.llm.scripted import an_ask, model
from tests._support.runs.service import (
    COMBINER,
    FOREVER,
    LONG,
    NEVER_ENDING,
    Service,
    saying,
    service,
)

SLOW: dict[str, Any] = {"model": NEVER_ENDING, "idle_timeout_s": 80_000, "timeout_s": 80_000}
HALF: dict[str, Any] = {"a": {"model": model("a")}, "b": SLOW}
WHOLE: dict[str, Any] = {"a": {"model": model("a")}, "b": {"model": model("b")}}
PRICED: dict[str, Any] = {"prices": [model("a"), model("b"), COMBINER["model"]]}


async def _retried(by: Service, run: Run) -> LiveRun:
    """Retry `run` and read the new one to its end."""
    again = await by.runs.retry(run.id, Principal(owner=run.owner))
    assert isinstance(again, LiveRun)
    await by.read(again)
    await by.journal.settle(30)
    return again


async def _refusal(by: Service, run_id: str, owner: str = "anonymous") -> RequestError:
    with pytest.raises(RequestError) as caught:
        await by.runs.retry(run_id, Principal(owner=owner))
    return caught.value


# --- the calls ---


async def test_a_retry_calls_only_agents_without_an_answer() -> None:
    async with (
        service(HALF, timeout_s=40, straggler_grace_s="none") as one,
        service(WHOLE, beside=one) as other,
    ):
        await _retried(other, await one.finish())
        assert sorted(other.server.asked_models()) == ["b", "combine"]


async def test_the_combiner_gets_the_reused_answers() -> None:
    async with (
        service(HALF, timeout_s=40, straggler_grace_s="none") as one,
        service(WHOLE, beside=one) as other,
    ):
        first = await one.finish()
        landed = (await one.answers(first))["a"].report.text
        await _retried(other, first)
        assert landed in other.server.last_message("combine")


async def test_a_reused_answer_is_marked_as_reused() -> None:
    async with (
        service(HALF, timeout_s=40, straggler_grace_s="none") as one,
        service(WHOLE, beside=one) as other,
    ):
        again = await _retried(other, await one.finish())
    reports = [each.report for each in again.log.after(0) if isinstance(each, AgentFinished)]
    assert {report.agent: report.reused for report in reports} == {"a": True, "b": False}


async def test_an_agent_with_another_configuration_is_called_again() -> None:
    changed = {**WHOLE, "a": {"model": model("a"), "temperature": 0.5}}
    async with (
        service(HALF, timeout_s=40, straggler_grace_s="none") as one,
        service(changed, beside=one) as other,
    ):
        await _retried(other, await one.finish())
        assert sorted(other.server.asked_models()) == ["a", "b", "combine"]


async def test_an_agent_that_failed_is_called_again() -> None:
    agents = {**HALF, "c": {"model": model("c", fault="status", status=400)}}
    async with (
        service(agents, timeout_s=40, straggler_grace_s="none") as one,
        service(agents, beside=one, straggler_grace_s="none") as other,
    ):
        await _retried(other, await one.finish())
        assert sorted(other.server.asked_models()) == ["c", "never"]


async def test_a_retry_has_the_context_before_its_run() -> None:
    async with (
        service(HALF, timeout_s=40, straggler_grace_s="none") as one,
        service(WHOLE, beside=one) as other,
    ):
        await other.finish(saying("First?"))
        second = await one.finish(saying("Second?", history=Continue("conv_1")))
        await other.finish(saying("Third?", history=Continue("conv_1")))
        await _retried(other, second)
        asked = [each["messages"] for each in other.server.asked if each["model"] == model("b")]
    contents = [message["content"] for message in asked[-1]]
    assert contents[0] == "First?"
    assert contents[-1] == "Second?"
    assert "Third?" not in contents


async def test_a_retry_has_the_initial_messages_of_the_conversation() -> None:
    brought = (Message("user", "Q1"), Message("assistant", "A1"))
    ask = an_ask(messages=(*brought, Message("user", "Q2")), history=Continue("conv_1"))
    async with (
        service(HALF, timeout_s=40, straggler_grace_s="none") as one,
        service(WHOLE, beside=one) as other,
    ):
        await _retried(other, await one.finish(ask))
        asked = next(each for each in other.server.asked if each["model"] == model("b"))
    assert [message["content"] for message in asked["messages"]] == ["Q1", "A1", "Q2"]


async def test_a_retry_has_the_options_of_the_first_request() -> None:
    ask = an_ask(stream_agents=True, max_tokens=7, timeout_s=30.0)
    async with service(HALF, straggler_grace_s="none") as one, service(WHOLE, beside=one) as other:
        first = await one.finish(ask)
        again = await other.stored(await _retried(other, first))
        was = await one.stored(first)
    for name in ("question", "message_id", "stream_agents", "max_tokens", "timeout_s", "ensemble"):
        assert getattr(again, name) == getattr(was, name)


# --- the cost ---


async def test_a_retry_costs_only_its_own_calls() -> None:
    async with (
        service(HALF, timeout_s=40, straggler_grace_s="none", **PRICED) as one,
        service(WHOLE, beside=one, **PRICED) as other,
    ):
        first = await one.finish()
        again = await _retried(other, first)
        spent = [(await other.answers(again))[name].report for name in ("b", "combine")]
    final = again.log.after(0)[-1]
    assert isinstance(final, RunFinished)
    assert final.cost == pytest.approx(sum(report.cost or 0 for report in spent))
    assert final.usage == spent[0].usage + spent[1].usage
    assert (await other.answers(again))["a"].report.cost == 0


# --- the place of a run ---


async def test_a_retry_takes_the_place_of_its_run() -> None:
    async with (
        service(HALF, timeout_s=40, straggler_grace_s="none") as one,
        service(WHOLE, beside=one) as other,
    ):
        first = await one.finish()
        again = await _retried(other, first)
        assert again.conversation_id == first.conversation_id
        assert again.retry_of == first.id
        assert (await other.stored(first)).superseded_by == again.id
        exchanges = await other.memory.runs.list_exchanges(first.owner, first.conversation_id, 9)
        assert [run.id for run in exchanges] == [again.id]


async def test_the_old_run_can_still_be_read() -> None:
    async with (
        service(HALF, timeout_s=40, straggler_grace_s="none") as one,
        service(WHOLE, beside=one) as other,
    ):
        first = await one.finish()
        await _retried(other, first)
        assert await other.read(await other.runs.find(first.id, "anonymous")) == first.log.after(0)


async def test_a_retry_of_a_superseded_run_replaces_the_latest() -> None:
    async with service(HALF, timeout_s=40, straggler_grace_s="none") as it:
        first = await it.finish()
        second = await _retried(it, first)
        third = await _retried(it, first)
        assert [second.retry_of, third.retry_of] == [first.id, second.id]


async def test_an_existing_retry_is_returned() -> None:
    async with (
        service(HALF, timeout_s=40, straggler_grace_s="none") as one,
        service(WHOLE, beside=one) as other,
    ):
        first = await one.finish()
        again = await _retried(other, first)
        assert (await other.runs.retry(first.id, Principal(owner="anonymous"))).id == again.id


async def test_a_running_retry_is_returned() -> None:
    async with service(HALF, timeout_s=40, straggler_grace_s="none") as it:
        first = await it.finish()
        again = await it.runs.retry(first.id, Principal(owner="anonymous"))
        assert await it.runs.retry(first.id, Principal(owner="anonymous")) is again


async def test_a_cancelled_run_can_be_retried() -> None:
    async with service(FOREVER, **LONG) as one, service(beside=one) as other:
        first = await one.start()
        await one.runs.cancel(first)
        await one.journal.settle(30)
        assert isinstance((await _retried(other, first)).log.after(0)[-1], RunFinished)


# --- runs that cannot be retried ---


async def test_a_complete_run_cannot_be_retried() -> None:
    async with service() as it:
        error = await _refusal(it, (await it.finish()).id)
    assert error.code == "run_not_retryable"
    assert "complete" in error.message


async def test_a_running_run_cannot_be_retried() -> None:
    async with service(FOREVER, **LONG) as it:
        error = await _refusal(it, (await it.start()).id)
    assert error.code == "run_not_retryable"
    assert "still running" in error.message


async def test_another_owners_run_cannot_be_retried() -> None:
    async with service(HALF, timeout_s=40, straggler_grace_s="none") as it:
        run = await it.finish(an_ask(principal=Principal(owner="me")))
        assert (await _refusal(it, run.id, "you")).code == "run_not_found"


async def test_drains_and_limits_apply_to_retries() -> None:
    async with service(HALF, timeout_s=40, straggler_grace_s="none", limits={"open_runs": 1}) as it:
        first = await it.finish()
        running = await it.start()
        assert (await _refusal(it, first.id)).code == "overloaded"
        await it.runs.cancel(running)
        await it.runs.drain(0)
        assert (await _refusal(it, first.id)).code == "draining"
