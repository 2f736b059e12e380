"""The strategy `council`: anonymous reviews, Borda points, and the chair."""

from __future__ import annotations

from typing import Any

from service.events import AgentFailed, AgentFinished, CombineStarted
from service.events.findings import RankingFinished
from tests._support.runs.scripted_texts import (
    Script,
    ScriptedTexts,
    ranking,
    read_candidates,
)
from tests._support.runs.strategy_play import Outcome, play

TEXTS = {"a": "Alpha text.", "b": "Beta text.", "c": "Gamma text."}


def _member(answer: str, review: Script) -> Script:
    def respond(body: dict[str, Any]) -> str:
        if "response_format" not in body:
            return answer
        return review(body) if callable(review) else str(review)

    return respond


async def _council(reviews: dict[str, Script], **more: Any) -> Outcome:
    members = {name: _member(text, reviews[name]) for name, text in TEXTS.items()}
    server = ScriptedTexts({**members, "chair": "The chair's answer."}, **more)
    return await play(
        {name: {"model": name, "prompt": f"You are {name}."} for name in TEXTS},
        None,
        server=server,
        others={"chair": {"model": "chair"}},
        strategy="council",
        chair="chair",
    )


ALIKE: dict[str, Script] = dict.fromkeys("abc", ranking("Gamma", "Alpha", "Beta"))


async def test_the_ranking_is_that_of_all_reviewers_without_their_own_answers() -> None:
    outcome = await _council(ALIKE)
    ranked = outcome.one(RankingFinished).ranking
    # Each answer is ranked by the two others: c is first twice, a once, b never.
    assert [(each.agent, each.score) for each in ranked] == [("c", 1.0), ("a", 0.5), ("b", 0.0)]
    assert outcome.good.degraded_by == ()


async def test_no_reviewer_reads_its_own_answer_or_a_name() -> None:
    outcome = await _council(ALIKE)
    reviews = [asked for asked in outcome.server.asked if "response_format" in asked]
    assert len(reviews) == 3
    for asked in reviews:
        texts = read_candidates(asked)
        assert sorted([*texts.values(), TEXTS[asked["model"]]]) == sorted(TEXTS.values())
        assert "You are" not in asked["messages"][0]["content"]


async def test_the_chair_writes_with_the_answers_and_their_ranking() -> None:
    outcome = await _council(ALIKE)
    assert outcome.answer == "The chair's answer."
    assert outcome.one(CombineStarted).used == ("c", "a", "b")
    sent = outcome.server.last_message("chair")
    assert "c: 1.00\na: 0.50\nb: 0.00" in sent
    assert outcome.good.source == "chair"


async def test_reviews_have_a_name_of_their_own_in_the_events() -> None:
    outcome = await _council(ALIKE)
    names = [event.agent for event in outcome.of(AgentFinished)]
    assert sorted(names) == ["a", "a#review", "b", "b#review", "c", "c#review"]


async def test_a_reviewer_that_answers_nonsense_does_not_count() -> None:
    outcome = await _council({**ALIKE, "a": "I cannot decide."})
    failed = outcome.one(AgentFailed)
    assert (failed.agent, failed.code) == ("a#review", "judge_unusable")
    assert outcome.one(RankingFinished).ranking[0].agent == "c"
    assert outcome.good.degraded_by == ("judge",)
    assert outcome.good.missing == ()


async def test_without_any_ranking_the_chair_writes_all_the_same() -> None:
    outcome = await _council(dict.fromkeys("abc", "No."))
    assert outcome.answer == "The chair's answer."
    assert "Ranking" not in outcome.server.last_message("chair")
    assert outcome.good.degraded_by == ("judge",)


async def test_two_answers_are_not_ranked_since_each_reviewer_has_one() -> None:
    outcome = await _council(ALIKE, status={"c": 500})
    assert not [asked for asked in outcome.server.asked if "response_format" in asked]
    assert outcome.answer == "The chair's answer."


async def test_a_chair_that_fails_is_replaced_by_the_best_answer() -> None:
    outcome = await _council(ALIKE, status={"chair": 400})
    assert (outcome.answer, outcome.good.answered_by) == ("Gamma text.", "c")
    assert outcome.good.degraded_by == ("combiner",)
