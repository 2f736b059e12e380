"""The strategy `vote`: groups of equal answers, ties, and the judge."""

from __future__ import annotations

from typing import Any

from service.events.findings import RankingFinished, VoteFinished
from tests._support.runs.scripted_texts import Script, ScriptedTexts, points
from tests._support.runs.strategy_play import Outcome, play


async def _vote(*texts: str, judge: Script | None = None, **more: Any) -> Outcome:
    names = "abcdefg"[: len(texts)]
    scripts: dict[str, Script] = dict(zip(names, texts, strict=True))
    keys: dict[str, Any] = {} if judge is None else {"judge": "judge"}
    return await play(
        {name: {"model": name, "retries": 0} for name in names},
        None,
        server=ScriptedTexts({**scripts, "judge": judge or ""}, **more),
        others={"judge": {"model": "judge"}},
        strategy="vote",
        **keys,
    )


async def test_the_answer_of_the_majority_is_sent_in_the_words_of_its_first_agent() -> None:
    outcome = await _vote("Paris", "The answer is Berlin.", "**Berlin**")
    assert outcome.answer == "The answer is Berlin."
    vote = outcome.one(VoteFinished)
    assert [(each.answer, each.agents) for each in vote.groups] == [
        ("Berlin", ("b", "c")),
        ("Paris", ("a",)),
    ]
    assert vote.agreement == vote.groups[0].share == 0.667
    assert outcome.good.answered_by == "b"


async def test_the_judge_decides_between_equal_groups_only() -> None:
    judge = points({"42": 2, "7": 8})
    outcome = await _vote("42", "7", "42", "7", "13", judge=judge)
    assert outcome.answer == "7"
    asked = outcome.server.asked[-1]["messages"][-1]["content"]
    assert "13" not in asked.split("Question:")[1].split("Give each")[0]
    assert not outcome.of(RankingFinished)


async def test_without_a_tie_the_judge_is_not_asked() -> None:
    outcome = await _vote("1", "1", "2", judge="")
    assert "judge" not in outcome.server.asked_models()


async def test_without_a_judge_the_first_agent_decides_a_tie() -> None:
    outcome = await _vote("1", "2", "3")
    assert (outcome.answer, outcome.good.degraded_by) == ("1", ())
    assert outcome.one(VoteFinished).agreement == 0.333


async def test_a_judge_without_a_verdict_leaves_the_tie_to_the_first_agent() -> None:
    outcome = await _vote("1", "2", "3", judge="No idea.")
    assert (outcome.answer, outcome.good.degraded_by) == ("1", ("judge",))


async def test_an_agent_that_failed_has_no_vote() -> None:
    outcome = await _vote("1", "2", "2", status={"a": 500})
    vote = outcome.one(VoteFinished)
    assert (vote.agreement, vote.groups[0].agents) == (1.0, ("b", "c"))
    assert outcome.good.degraded_by == ("agents",)


async def test_the_same_agent_votes_several_times_with_other_seeds() -> None:
    outcome = await play(
        {"a": {"model": "a", "temperature": 0.7}},
        None,
        server=ScriptedTexts({"a": ["4", "5", "5"]}),
        strategy="vote",
        members="aaa",
    )
    assert [asked["seed"] for asked in outcome.server.asked] == [1, 2, 3]
    assert outcome.one(VoteFinished).groups[0].agents == ("a#2", "a#3")
    assert outcome.answer == "5"
