"""The strategy `layers`: the answers that each layer reads, and layers that fail."""

from __future__ import annotations

from typing import Any

from service.events import AgentStarted, CombineStarted
from tests._support.runs.scripted_texts import ScriptedTexts
from tests._support.runs.strategy_play import Outcome, play

TEXTS = {"a": "Text of a.", "b": "Text of b.", "c": "Text of c.", "combine": "The end."}


async def _layers(layers: list[list[str]], **more: Any) -> Outcome:
    names = sorted({name for layer in layers for name in layer})
    return await play(
        {name: {"model": name, "retries": 0} for name in names},
        {"model": "combine"},
        server=ScriptedTexts(TEXTS, **more),
        strategy="layers",
        layers=layers,
    )


async def test_each_layer_reads_the_layer_before_and_the_combiner_the_last_one() -> None:
    outcome = await _layers([["a", "b"], ["c"]])
    first = [asked for asked in outcome.server.asked if asked["model"] in ("a", "b")]
    assert all(asked["messages"][-1]["content"] == "Why is the sky blue?" for asked in first)
    second = outcome.server.last_message("c")
    assert "[a]\nText of a.\n\n[b]\nText of b." in second
    assert "Why is the sky blue?" in second
    last = outcome.server.last_message("combine")
    assert "[c]\nText of c." in last
    assert "Text of a." not in last
    assert outcome.one(CombineStarted).used == ("c",)
    assert outcome.answer == "The end."


async def test_a_layer_starts_after_the_one_before() -> None:
    outcome = await _layers([["a", "b"], ["c"]], delays_s={"a": 5.0})
    assert outcome.when(AgentStarted, "c") >= 5.0


async def test_the_same_agent_several_times_in_a_layer_has_numbers_and_seeds() -> None:
    outcome = await _layers([["a", "a"], ["c"]])
    assert [event.agent for event in outcome.of(AgentStarted)] == ["a#1", "a#2", "c"]
    assert [asked.get("seed") for asked in outcome.server.asked[:2]] == [1, 2]


async def test_a_later_layer_that_fails_is_left_out() -> None:
    outcome = await _layers([["a", "b"], ["c"]], status={"c": 500})
    assert outcome.answer == "The end."
    assert "Text of b." in outcome.server.last_message("combine")
    assert [(each.agent, each.code) for each in outcome.good.missing] == [("c", "upstream_failed")]
    assert outcome.good.degraded_by == ("agents",)


async def test_a_first_layer_that_fails_ends_the_run() -> None:
    outcome = await _layers([["a", "b"], ["c"]], status={"a": 500, "b": 500})
    assert outcome.bad.code == "too_few_answers"
    assert outcome.server.asked_models() == ["a", "b"]
