"""The analysis before a combined answer: its JSON, its names, and nonsense in its place."""

from __future__ import annotations

import json
from typing import Any

from service.events import AgentFailed, AgentFinished, AnswerDelta
from service.events.findings import AnalysisFinished
from tests._support.runs.scripted_texts import Script, ScriptedTexts
from tests._support.runs.strategy_play import Outcome, play

ANALYSIS = {
    "consensus": ["Blue light is scattered most."],
    "contradictions": [
        {
            "point": "Sunset",
            "sides": [
                {"agents": ["[a]"], "claim": "It is red."},
                {"agents": ["B", "nobody"], "claim": "It is green."},
            ],
        },
        {"point": "Made up", "sides": [{"agents": ["x"], "claim": "?"}]},
    ],
    "unique": [{"agent": "a", "point": "Rayleigh"}, {"agent": "x", "point": "Made up"}],
    "gaps": ["Why not violet?"],
}


async def _analyse(script: Script) -> Outcome:
    def combiner(body: dict[str, Any]) -> str:
        if "response_format" not in body:
            return "The combined answer."
        return script(body) if callable(script) else str(script)

    return await play(
        {name: {"model": name} for name in "ab"},
        {"model": "combine", "prompt": "Combine."},
        server=ScriptedTexts({"a": "From a.", "b": "From b.", "combine": combiner}),
        analyse=True,
    )


async def test_the_combiner_analyses_and_then_writes_with_its_analysis() -> None:
    outcome = await _analyse(json.dumps(ANALYSIS))
    analysis = outcome.one(AnalysisFinished)
    assert analysis.agent == "combine"
    assert analysis.analysis["gaps"] == ["Why not violet?"]
    sent = outcome.server.asked[-1]["messages"][-1]["content"]
    assert "Why not violet?" in sent
    assert "[a]\nFrom a." in sent
    assert outcome.answer == "The combined answer."


async def test_the_analysis_names_only_agents_of_the_ensemble() -> None:
    analysis = (await _analyse(json.dumps(ANALYSIS))).one(AnalysisFinished).analysis
    (contradiction,) = analysis["contradictions"]
    assert [side["agents"] for side in contradiction["sides"]] == [["a"], ["b"]]
    assert analysis["unique"] == [{"agent": "a", "point": "Rayleigh"}]


async def test_the_json_of_the_analysis_is_not_a_part_of_the_answer() -> None:
    outcome = await _analyse(json.dumps(ANALYSIS))
    assert "consensus" not in "".join(event.text for event in outcome.of(AnswerDelta))
    assert "combine#analysis" in [event.agent for event in outcome.of(AgentFinished)]


async def test_without_a_usable_analysis_the_combiner_writes_from_the_answers() -> None:
    outcome = await _analyse("They mostly agree.")
    assert outcome.one(AgentFailed).agent == "combine#analysis"
    assert not outcome.of(AnalysisFinished)
    assert outcome.answer == "The combined answer."
    assert outcome.good.degraded_by == ("judge",)
