"""Provenance of a combined answer: parts, their agents, claims without support, dissent."""

from __future__ import annotations

from typing import Any

from service.events import AnswerDelta
from service.events.findings import ProvenanceFinished, ProvenancePart
from tests._support.runs.scripted_texts import ScriptedTexts
from tests._support.runs.strategy_play import Outcome, play

BLUE = "Short waves of sunlight are scattered by air molecules, so the sky looks blue."
RED = "At sunset the path through the atmosphere is long, and only red light remains. It is green."


async def _combine(text: str, **more: Any) -> Outcome:
    return await play(
        {name: {"model": name} for name in "ab"},
        {"model": "combine"},
        server=ScriptedTexts({"a": BLUE, "b": RED, "combine": text}, **more),
        provenance=True,
    )


def _parts(outcome: Outcome) -> tuple[ProvenancePart, ...]:
    found: tuple[ProvenancePart, ...] = outcome.one(ProvenanceFinished).provenance
    assert all(outcome.answer[part.start : part.end] == part.text for part in found)
    return found


async def test_each_marked_part_names_its_agents_and_the_marks_are_not_sent() -> None:
    outcome = await _combine(
        "The sky looks blue since air scatters short waves. ⟦1⟧ At sunset red light remains. ⟦2⟧"
    )
    assert outcome.answer == (
        "The sky looks blue since air scatters short waves. At sunset red light remains."
    )
    assert [part.agents for part in _parts(outcome)] == [("a",), ("b",)]
    assert outcome.good.combiner is not None
    assert outcome.good.combiner.text == outcome.answer
    assert "⟦1⟧" in outcome.server.last_message("combine")


async def test_a_mark_before_the_full_stop_belongs_to_its_sentence() -> None:
    outcome = await _combine("Air scatters short waves ⟦1⟧. At sunset red light remains ⟦2⟧!")
    assert [part.text for part in _parts(outcome)] == [
        "Air scatters short waves.",
        "At sunset red light remains!",
    ]


async def test_a_claim_without_support_in_the_agents_text_is_dropped() -> None:
    outcome = await _combine("The sky looks blue since air scatters short waves. ⟦1,2⟧")
    assert [part.agents for part in _parts(outcome)] == [("a",)]


async def test_a_number_without_an_answer_is_dropped() -> None:
    outcome = await _combine("The sky looks blue since air scatters short waves. ⟦1,7,0⟧")
    assert [part.agents for part in _parts(outcome)] == [("a",)]


async def test_parts_without_marks_rest_on_the_agents_with_most_of_their_words() -> None:
    outcome = await _combine(f"{BLUE} Elephants live in Africa!")
    assert [part.agents for part in _parts(outcome)] == [("a",), ()]


async def test_dissent_is_listed_if_the_agent_has_stated_it() -> None:
    outcome = await _combine(
        "At sunset red light remains. ⟦2⟧ ⟦dissent 2: It is green.⟧ ⟦dissent 1: Cats bark loudly.⟧"
    )
    (dissent,) = outcome.one(ProvenanceFinished).dissent
    assert (dissent.agent, dissent.text) == ("b", "It is green.")
    assert outcome.answer == "At sunset red light remains."


async def test_an_answer_that_replaces_the_combiners_rests_on_its_author() -> None:
    outcome = await _combine("", status={"combine": 400})
    assert outcome.answer == BLUE
    assert [part.agents for part in _parts(outcome)] == [("a",)]


async def test_the_answer_is_still_streamed_in_pieces() -> None:
    outcome = await _combine("The sky looks blue since air scatters short waves. ⟦1⟧")
    assert len(outcome.of(AnswerDelta)) > 1
    assert outcome.types()[-1] == "provenance.finished"
