"""The strategy `synthesize`: calls of all agents, stragglers, the combiner and its substitutes."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from service.domain import MissingAgent, RequestOptions, RunRequest
from service.events import (
    AgentDelta,
    AgentFailed,
    AgentFinished,
    AgentSkipped,
    AgentStarted,
    AnswerDelta,
    CombineStarted,
)
from tests._support.llm.scripted import an_ask, answering, chunk, model, now
from tests._support.runs.strategy_play import Outcome, play

COMBINER = {"model": model("combine")}


def _agent(name: str = "model", **options: Any) -> dict[str, Any]:
    return {"model": model(name, **options), "retries": 0}


# --- the good case ---


async def test_the_agents_are_called_and_then_the_combiner() -> None:
    outcome = await play({"a": _agent("a"), "b": _agent("b")}, COMBINER)
    assert [each for each in outcome.types() if each != "answer.delta"] == [
        "agent.started",
        "agent.started",
        "agent.finished",
        "agent.finished",
        "combine.started",
    ]
    assert outcome.types()[-1] == "answer.delta"


async def test_all_agents_start_at_the_same_time() -> None:
    outcome = await play({name: _agent(name, first_ms=1000) for name in "abc"}, COMBINER)
    starts = [outcome.when(AgentStarted, name) for name in "abc"]
    assert set(starts) == {starts[0]}
    assert outcome.when(AgentStarted, "c") < outcome.when(AgentFinished, "a")
    assert len(set(outcome.server.at[:3])) == 1


async def test_a_run_takes_as_long_as_the_slowest_agent_and_the_combiner() -> None:
    pace = {"tokens": 1, "gap_ms": 0}
    agents = {str(s): _agent(str(s), first_ms=s * 1000, **pace) for s in (1, 5, 9)}
    started = now()
    await play(agents, {"model": model("combine", first_ms=2000, **pace)})
    assert now() - started == pytest.approx(9 + 2, abs=0.01)


async def test_the_combiner_receives_the_question_and_each_answer_with_its_agents_name() -> None:
    outcome = await play({"a": _agent("a"), "b": _agent("b")}, COMBINER)
    sent = outcome.server.last_message("combine")
    assert sent.startswith("Question:\nWhy is the sky blue?\n\n")
    for name in "ab":
        (text,) = [each.report.text for each in outcome.of(AgentFinished) if each.agent == name]
        assert f"[{name}]\n{text.strip()}" in sent


async def test_the_combiner_receives_the_answers_in_the_ensembles_order() -> None:
    outcome = await play({"slow": _agent("slow", first_ms=900), "quick": _agent("quick")}, COMBINER)
    assert outcome.one(CombineStarted).used == ("slow", "quick")


async def test_every_agent_receives_its_own_prompt_first() -> None:
    agents = {"a": {**_agent("a"), "prompt": "Be odd."}, "b": _agent("b")}
    outcome = await play(agents, COMBINER)
    asked = {each["model"].partition("?")[0]: each["messages"] for each in outcome.server.asked}
    assert asked["a"][0] == {"role": "system", "content": "Be odd."}
    assert asked["b"][0]["role"] == "user"


async def test_the_answer_has_the_combiners_name_as_its_source() -> None:
    outcome = await play({"a": _agent()}, COMBINER)
    assert {event.agent for event in outcome.of(AnswerDelta)} == {"combine"}
    assert (outcome.good.source, outcome.good.answered_by) == ("combine", "combine")
    assert outcome.good.degraded_by == ()


async def test_agents_texts_are_sent_only_with_stream_agents() -> None:
    quiet = await play({"a": _agent()}, COMBINER)
    assert quiet.of(AgentDelta) == []
    outcome = await play({"a": _agent()}, COMBINER, ask=an_ask(stream_agents=True))
    text = "".join(each.text for each in outcome.of(AgentDelta))
    assert text == outcome.one(AgentFinished).report.text


async def test_a_report_has_times_usage_and_model() -> None:
    agent = _agent("a", first_ms=500, gap_ms=100, tokens=6)
    report = (await play({"a": agent}, COMBINER)).one(AgentFinished).report
    assert (report.first_token_ms, report.elapsed_ms) == (500, 1000)
    assert (report.usage.output_tokens, report.usage.estimated) == (6, False)
    assert (report.model, report.finish_reason, report.partial) == (agent["model"], "stop", False)


async def test_a_request_can_lower_max_tokens_but_not_raise_it() -> None:
    for wanted, got in ((7, 7), (10_000, 100), (None, 100)):
        outcome = await play({"a": _agent()}, COMBINER, ask=an_ask(max_tokens=wanted))
        assert {each["max_tokens"] for each in outcome.server.asked} == {got}


# --- failing agents ---


async def test_one_agents_failure_is_reported_and_does_not_end_the_run() -> None:
    outcome = await play({"bad": _agent(fault="status"), "good": _agent("good")}, COMBINER)
    failed = outcome.one(AgentFailed)
    assert (failed.agent, failed.code) == ("bad", "upstream_failed")
    assert outcome.one(CombineStarted).used == ("good",)
    assert outcome.good.answered_by == "combine"


async def test_the_text_of_an_answer_that_broke_off_is_used_and_marked() -> None:
    outcome = await play(
        {"bad": _agent(fault="reset", after=2), "good": _agent("good")}, COMBINER, continues=0
    )
    failed = outcome.one(AgentFailed)
    assert failed.report.partial
    assert outcome.one(CombineStarted).used == ("bad", "good")
    assert outcome.good.missing == (MissingAgent("bad", "upstream_incomplete"),)
    note = "[bad] (cut off before it was complete: its model server failed)\n"
    assert f"{note}{failed.report.text}" in outcome.server.last_message("combine")


async def test_when_all_agents_fail_each_reason_is_reported() -> None:
    agents = {
        "one": _agent("x", fault="status", status=503),
        "two": _agent("y", fault="refuse"),
        "three": _agent("z", fault="empty"),
    }
    error = (await play(agents, COMBINER)).bad
    assert (error.code, error.source) == ("too_few_answers", "service")
    assert error.message.startswith("0 of 3 agents answered, 1 needed.")
    assert "one: x?" in error.message
    assert "answered 503" in error.message
    assert "two: y?" in error.message
    assert "could not be reached" in error.message
    assert "three: z?" in error.message
    assert "without any text" in error.message


async def test_with_too_few_answers_the_combiner_is_not_called() -> None:
    agents = {"bad": _agent(fault="status"), "good": _agent("good")}
    outcome = await play(agents, COMBINER, min_answers=2)
    assert outcome.bad.message.startswith("1 of 2 agents answered, 2 needed. bad: ")
    assert "combine" not in outcome.server.asked_models()


async def test_a_run_with_too_few_answers_fails_only_when_every_agent_has_ended() -> None:
    agents = {"bad": _agent(fault="refuse"), "slow": _agent("slow", first_ms=5000)}
    outcome = await play(agents, COMBINER, min_answers=2)
    assert outcome.when(AgentFinished, "slow") >= 5
    assert outcome.error


# --- stragglers ---


async def test_without_a_straggler_grace_a_run_waits_for_every_agent() -> None:
    agents = {"quick": _agent("quick"), "slow": _agent("slow", first_ms=20_000)}
    outcome = await play(agents, COMBINER, straggler_grace_s="none")
    assert outcome.one(CombineStarted).used == ("quick", "slow")


async def test_the_straggler_grace_starts_when_enough_agents_answered() -> None:
    agents = {
        "quick": _agent("quick", first_ms=1000, tokens=1),
        "second": _agent("second", first_ms=6000, tokens=1),
        "slow": _agent("slow", first_ms=25_000),
    }
    outcome = await play(agents, COMBINER, min_answers=2, straggler_grace_s=4)
    assert outcome.when(CombineStarted) == pytest.approx(6 + 4, abs=0.01)


async def test_an_agent_that_answers_within_the_grace_is_not_skipped() -> None:
    agents = {"quick": _agent("quick"), "late": _agent("late", first_ms=3000)}
    outcome = await play(agents, COMBINER, straggler_grace_s=4)
    assert outcome.of(AgentSkipped) == []
    assert outcome.when(CombineStarted) < 4


async def test_a_stragglers_text_so_far_is_used_and_marked_for_the_combiner() -> None:
    agents = {"quick": _agent("quick"), "slow": _agent("slow", gap_ms=1000, tokens=20)}
    outcome = await play(agents, COMBINER, straggler_grace_s=4)
    skipped = outcome.one(AgentSkipped)
    assert (skipped.agent, skipped.code) == ("slow", "straggler")
    assert skipped.report.partial
    assert outcome.one(CombineStarted).used == ("quick", "slow")
    sent = outcome.server.last_message("combine")
    assert f"[slow] (cut off before it was complete)\n{skipped.report.text.strip()}" in sent
    assert "[quick]\n" in sent


async def test_a_straggler_without_text_is_not_used() -> None:
    agents = {"quick": _agent("quick"), "slow": _agent("slow", first_ms=20_000)}
    outcome = await play(agents, COMBINER, straggler_grace_s=4)
    assert "had sent no text yet" in outcome.one(AgentSkipped).message
    assert outcome.one(CombineStarted).used == ("quick",)


async def test_a_stragglers_call_is_cancelled() -> None:
    agents = {"quick": _agent("quick"), "slow": _agent("slow", fault="stall")}
    outcome = await play(agents, COMBINER, straggler_grace_s=1)
    inner = outcome.server.inner
    assert (inner.open_streams, inner.mock.closed_early) == (0, 1)  # type: ignore[attr-defined]


async def test_a_stragglers_usage_is_an_estimate() -> None:
    agents = {"quick": _agent("quick"), "slow": _agent("slow", fault="stall", after=3)}
    outcome = await play(agents, COMBINER, straggler_grace_s=1)
    usage = outcome.one(AgentSkipped).report.usage
    assert usage.estimated
    assert usage.input_tokens > 0
    assert usage.output_tokens > 0
    assert outcome.good.usage.estimated


async def test_a_failure_does_not_count_as_an_answer_for_the_grace() -> None:
    agents = {"bad": _agent(fault="refuse"), "slow": _agent("slow", first_ms=9000)}
    outcome = await play(agents, COMBINER, straggler_grace_s=1)
    assert outcome.one(CombineStarted).used == ("slow",)


async def test_a_grace_of_zero_starts_the_combiner_after_the_first_answer() -> None:
    agents = {"quick": _agent("quick", first_ms=1000, tokens=1), "slow": _agent(first_ms=2000)}
    outcome = await play(agents, COMBINER, straggler_grace_s=0)
    assert outcome.when(CombineStarted) == pytest.approx(1, abs=0.01)


# --- a failing combiner ---


@pytest.mark.parametrize("fault", ["status", "refuse", "empty", "hang"])
async def test_a_combiner_that_fails_before_its_first_token_is_replaced_by_an_answer(
    fault: str,
) -> None:
    combiner = {**_agent("combine", fault=fault, status=400)}
    outcome = await play({"a": _agent("a"), "b": _agent("b")}, combiner)
    assert outcome.answer == outcome.of(AgentFinished)[0].report.text
    assert (outcome.good.source, outcome.good.answered_by) == ("combine", "a")
    assert (outcome.good.degraded_by, outcome.good.missing) == (("combiner",), ())


async def test_a_combiners_failure_is_reported_before_the_answer_that_replaces_it() -> None:
    outcome = await play({"a": _agent("a")}, _agent("combine", fault="refuse"))
    assert outcome.types()[-3:] == ["combine.started", "agent.failed", "answer.delta"]
    assert outcome.one(AgentFailed).agent == "combine"


async def test_a_complete_answer_replaces_the_combiners_before_a_partial_one() -> None:
    agents = {"slow": _agent("slow", fault="stall"), "quick": _agent("quick")}
    outcome = await play(agents, _agent("combine", fault="refuse"), straggler_grace_s=1)
    assert outcome.good.answered_by == "quick"


async def test_a_combiner_that_breaks_off_after_some_text_fails_the_run_under_its_name() -> None:
    outcome = await play({"a": _agent("a")}, _agent("combine", fault="reset", after=2))
    assert (outcome.bad.code, outcome.bad.source) == ("upstream_incomplete", "combine")
    assert outcome.answer


async def test_without_continuation_a_combiner_that_breaks_off_is_not_called_again() -> None:
    combiner = {"model": model("combine", fault="cut", after=2), "fallbacks": [model("spare")]}
    outcome = await play({"a": _agent("a")}, combiner, continues=0)
    assert outcome.server.asked_models() == ["a", "combine"]


async def test_a_fallback_of_the_combiner_is_called_before_an_answer_replaces_it() -> None:
    combiner = {**_agent("combine", fault="refuse"), "fallbacks": [model("spare")]}
    outcome = await play({"a": _agent("a")}, combiner)
    assert outcome.server.asked_models()[-1] == "spare"
    assert (outcome.good.answered_by, outcome.good.degraded_by) == ("combine", ("combiner",))


# --- degraded answers ---

STATUS = {"fault": "status", "status": 500}


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (STATUS, "upstream_failed"),
        ({"fault": "stall"}, "straggler"),  # its partial text is used
        ({"fault": "hang"}, "straggler"),
    ],
)
@pytest.mark.parametrize("combiner", [{}, STATUS])
async def test_a_failed_or_skipped_agent_is_missing_in_the_answer(
    bad: dict[str, Any], code: str, combiner: dict[str, Any]
) -> None:
    agents = {"bad": _agent("bad", **bad), "good": _agent("good")}
    outcome = await play(agents, _agent("combine", **combiner), straggler_grace_s=1)
    assert outcome.good.missing == (MissingAgent("bad", code),)
    assert outcome.good.degraded_by == (("agents", "combiner") if combiner else ("agents",))


async def test_missing_agents_are_in_the_ensembles_order() -> None:
    slow, bad = _agent("slow", fault="hang"), _agent("bad", **STATUS)
    outcome = await play(
        {"slow": slow, "bad": bad, "good": _agent()}, COMBINER, straggler_grace_s=1
    )
    assert [each.agent for each in outcome.good.missing] == ["slow", "bad"]


async def test_an_agent_whose_fallback_model_answered_is_not_missing() -> None:
    agents = {"a": {**_agent("a", **STATUS), "fallbacks": [model("spare")]}, "b": _agent("b")}
    answer = (await play(agents, COMBINER)).good
    assert (answer.missing, answer.degraded_by) == ((), ())


# --- money ---


async def test_usage_is_the_sum_of_all_calls() -> None:
    agents = {"a": _agent("a", tokens=3), "b": _agent("b", tokens=5)}
    outcome = await play(agents, {"model": model("combine", tokens=7)})
    assert outcome.good.usage.output_tokens == 3 + 5 + 7
    assert not outcome.good.usage.estimated


async def test_the_cost_is_that_of_all_calls_with_a_price() -> None:
    agents = {"a": _agent("a", tokens=3), "b": _agent("b", tokens=5)}
    prices = [agents["a"]["model"], COMBINER["model"]]
    outcome = await play(agents, COMBINER, prices=prices)
    assert outcome.good.combiner is not None
    (a,) = [each.report for each in outcome.of(AgentFinished) if each.agent == "a"]
    dollars = a.usage.total_tokens + outcome.good.combiner.usage.total_tokens  # a dollar a token
    assert outcome.good.cost == pytest.approx(dollars)


async def test_without_prices_no_cost_is_known() -> None:
    assert (await play({"a": _agent()}, COMBINER)).good.cost is None


async def test_the_usage_of_a_call_that_broke_off_is_an_estimate() -> None:
    agents = {"bad": _agent("bad", fault="reset", after=3), "good": _agent("good")}
    outcome = await play(agents, COMBINER, continues=0)
    assert outcome.one(AgentFailed).report.usage.estimated
    assert outcome.good.usage.estimated


async def test_reasoning_without_an_answer_counts_as_usage() -> None:
    server = answering(chunk(reasoning_content="Hmm."), httpx.ReadError("reset"))
    outcome = await play({"a": _agent("a")}, COMBINER, server=server)
    assert outcome.one(AgentFailed).report.usage.input_tokens > 0


async def test_a_refused_call_costs_nothing() -> None:
    agents = {"bad": _agent("bad", fault="status"), "good": _agent("good")}
    outcome = await play(agents, COMBINER, prices=[agents["bad"]["model"]])
    assert outcome.one(AgentFailed).report.cost == 0
    assert not outcome.good.usage.estimated


async def test_usage_and_cost_of_a_failed_run_are_known() -> None:
    outcome = await play({"a": _agent("a")}, _agent("combine", fault="reset", after=3))
    assert outcome.error
    assert outcome.kit.usage.estimated
    assert outcome.kit.usage.output_tokens > 4


async def test_a_run_over_its_cost_limit_ends_before_the_combiner() -> None:
    agents = {"a": _agent("a"), "b": _agent("b")}
    prices = [agents["a"]["model"]]
    outcome = await play(agents, COMBINER, prices=prices, max_cost_usd=5)
    assert outcome.bad.code == "cost_cap"
    assert "5 US dollars" in outcome.bad.message
    assert "combine" not in outcome.server.asked_models()


async def test_a_run_over_its_cost_limit_does_not_wait_for_agents() -> None:
    agents = {"dear": _agent("dear"), "slow": _agent("slow", first_ms=20_000)}
    outcome = await play(agents, COMBINER, prices=[agents["dear"]["model"]], max_cost_usd=5)
    assert outcome.bad.code == "cost_cap"
    assert now() < 20


async def test_a_run_below_its_cost_limit_continues() -> None:
    agent = _agent("a")
    outcome = await play({"a": agent}, COMBINER, prices=[agent["model"]], max_cost_usd=1000)
    assert outcome.good.cost is not None


# --- being cancelled ---


async def test_cancelling_a_run_cancels_every_call_and_counts_its_usage() -> None:
    agents = {"a": _agent("a", fault="stall"), "b": _agent("b", fault="hang")}
    outcome = Outcome()
    task = asyncio.create_task(play(agents, COMBINER, outcome=outcome))
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert outcome.server.inner.open_streams == 0  # type: ignore[attr-defined]
    assert outcome.kit.usage.estimated
    assert outcome.kit.usage.output_tokens > 0


# --- options of the question ---


def _with(**options: Any) -> RunRequest:
    return an_ask(options=RequestOptions(parameters=options))


async def test_only_the_combiner_receives_stop() -> None:
    outcome = await play(
        {"a": _agent("a"), "b": _agent("b")}, COMBINER, ask=_with(stop="END", temperature=0.5)
    )
    *agents, combiner = outcome.server.asked
    assert ["stop" in each for each in agents] == [False, False]
    assert combiner["stop"] == "END"
    assert {each["temperature"] for each in outcome.server.asked} == {0.5}


async def test_an_answer_that_replaces_the_combiners_is_cut_at_stop_too() -> None:
    broken = {"model": model("combine", fault="status", status=400), "retries": 0}
    whole = await play({"a": _agent("a", tokens=9)}, broken)
    words = whole.answer
    stop = words[10:14]
    cut = await play({"a": _agent("a", tokens=9)}, broken, ask=_with(stop=["§", stop]))
    assert cut.answer == words[: words.index(stop)]
    assert cut.good.degraded_by == ("combiner",)
