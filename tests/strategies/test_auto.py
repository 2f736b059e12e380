"""The strategy `auto`: its gate, the calls that it saves, and the judge in doubt."""

from __future__ import annotations

import json
from typing import Any

import pytest

from service.events import CombineStarted
from service.events.findings import AnalysisFinished, GateDecided, VoteFinished
from tests._support.runs.scripted_texts import Script, ScriptedTexts
from tests._support.runs.strategy_play import Outcome, play

SKY = (
    "Air scatters short waves of sunlight more strongly than long ones. Blue light therefore "
    "reaches our eyes from every direction, while red light passes on. This is Rayleigh scattering."
)
SKY_AGAIN = (
    "Sunlight is scattered by air, short waves more strongly than long ones. Blue light reaches "
    "our eyes from every direction, and red light passes. This is called Rayleigh scattering."
)
SEA = (
    "Water absorbs the red end of daylight over several metres, and mirrors in its surface add to "
    "that the colour of whatever happens to be above it, which on cloudy days makes oceans grey."
)
ANALYSIS = json.dumps({"consensus": ["It is blue."], "gaps": []})


def _combiner(body: dict[str, Any]) -> str:
    return ANALYSIS if "response_format" in body else "The combined answer."


async def _auto(*texts: str, judge: Script | None = None, **more: Any) -> Outcome:
    names = "abcde"[: len(texts)]
    scripts: dict[str, Script] = dict(zip(names, texts, strict=True))
    keys: dict[str, Any] = {"judge": "judge"} if judge is not None else {}
    return await play(
        {name: {"model": name, "retries": 0} for name in names},
        {"model": "combine"},
        server=ScriptedTexts({**scripts, "combine": _combiner, "judge": judge or ""}),
        others={"judge": {"model": "judge"}},
        strategy="auto",
        **keys,
        **more,
    )


@pytest.mark.parametrize(
    "texts",
    [
        ("The sky is blue since air scatters light.", "Since air scatters light, the sky is blue."),
        (SKY, SKY),
        (SKY, SKY_AGAIN),
        ("Paris", "The answer is Paris."),
        ("42", "42.0", "42"),
    ],
)
async def test_the_combiner_is_not_called_when_the_agents_agree(texts: tuple[str, ...]) -> None:
    outcome = await _auto(*texts)
    assert "combine" not in outcome.server.asked_models()
    assert outcome.one(GateDecided).decision == "single"
    assert outcome.answer == texts[0]
    assert outcome.good.answered_by == "a"
    assert not outcome.of(CombineStarted)


async def test_short_answers_of_a_majority_are_a_vote() -> None:
    outcome = await _auto("7", "42", "Answer: 42")
    gate = outcome.one(GateDecided)
    assert (gate.decision, gate.agreement) == ("vote", 0.667)
    assert outcome.one(VoteFinished).groups[0].agents == ("b", "c")
    assert outcome.answer == "42"
    assert "combine" not in outcome.server.asked_models()


async def test_texts_that_differ_are_analysed_and_combined() -> None:
    outcome = await _auto(SKY, SEA)
    gate = outcome.one(GateDecided)
    assert (gate.decision, gate.saved_usd) == ("combine", 0.0)
    assert outcome.one(AnalysisFinished).analysis["consensus"] == ["It is blue."]
    assert outcome.answer == "The combined answer."


async def test_short_answers_without_a_majority_are_combined() -> None:
    outcome = await _auto("1", "2", analyse=False)
    assert outcome.one(GateDecided).decision == "combine"
    assert not outcome.of(AnalysisFinished)
    assert outcome.answer == "The combined answer."


IN_DOUBT = (SKY, f"{SKY_AGAIN} {SEA}")


@pytest.mark.parametrize(("agree", "decision"), [(True, "single"), (False, "combine")])
async def test_a_judge_decides_in_doubt(agree: bool, decision: str) -> None:
    outcome = await _auto(*IN_DOUBT, judge=json.dumps({"agree": agree}))
    assert outcome.one(GateDecided).decision == decision
    assert "The judge finds" in outcome.one(GateDecided).why


async def test_without_a_judge_texts_in_doubt_are_combined() -> None:
    outcome = await _auto(*IN_DOUBT)
    assert outcome.one(GateDecided).decision == "combine"
    assert "judge" not in outcome.server.asked_models()


async def test_a_judge_without_a_verdict_leads_to_the_combiner() -> None:
    outcome = await _auto(*IN_DOUBT, judge="Perhaps.")
    assert outcome.one(GateDecided).decision == "combine"
    assert outcome.good.degraded_by == ("judge",)


async def test_the_gate_reports_the_cost_of_the_calls_that_it_saves() -> None:
    outcome = await _auto(SKY, SKY, prices=["combine"])
    assert outcome.one(GateDecided).saved_usd > 2 * len(SKY) / 4
    assert (await _auto(SKY, SKY)).one(GateDecided).saved_usd is None


async def test_a_single_answer_needs_no_gate_calls() -> None:
    server = ScriptedTexts({"a": SKY, "combine": _combiner}, status={"b": 500})
    outcome = await play(
        {name: {"model": name, "retries": 0} for name in "ab"},
        {"model": "combine"},
        server=server,
        strategy="auto",
    )
    assert outcome.one(GateDecided).why == "There is only one complete answer."
    assert outcome.good.degraded_by == ("agents",)
