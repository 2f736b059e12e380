"""Answers in JSON through ensembles: the calls that get the format, and the repair."""

from __future__ import annotations

import json
from typing import Any

import pytest

from service.domain import RequestOptions
from service.events import AgentFinished, AnswerDelta
from service.events.findings import ProvenanceFinished, VoteFinished
from service.strategies.options.schema import find_schema_fault
from tests._support.llm.scripted import an_ask
from tests._support.runs.scripted_texts import Script, ScriptedTexts
from tests._support.runs.strategy_play import Outcome, play

SCHEMA = {
    "type": "object",
    "properties": {"colour": {"enum": ["blue", "red"]}, "count": {"type": "integer"}},
    "required": ["colour"],
    "additionalProperties": False,
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "sky", "schema": SCHEMA}}
GOOD = json.dumps({"colour": "blue"})


async def _ask(texts: dict[str, Script], strategy: str = "synthesize", **more: Any) -> Outcome:
    combiner = {"model": "combine"} if "combine" in texts else None
    names = [name for name in texts if name != "combine"]
    return await play(
        {name: {"model": name} for name in names},
        combiner,
        ask=an_ask(options=RequestOptions(parameters={"response_format": FORMAT})),
        server=ScriptedTexts(texts),
        strategy=strategy,
        **more,
    )


async def test_only_the_combiner_gets_the_format() -> None:
    outcome = await _ask({"a": "Blue.", "b": "Blue!", "combine": GOOD}, provenance=True)
    sent = {asked["model"]: asked.get("response_format") for asked in outcome.server.asked}
    assert sent == {"a": None, "b": None, "combine": FORMAT}
    assert outcome.answer == GOOD
    assert not outcome.of(ProvenanceFinished)


async def test_agents_whose_own_text_is_the_answer_get_the_format() -> None:
    outcome = await _ask({"a": GOOD, "b": '{"colour":"Blue"}', "c": '{"colour":"red"}'}, "vote")
    assert all(asked["response_format"] == FORMAT for asked in outcome.server.asked)
    assert outcome.one(VoteFinished).agreement == 0.667
    assert outcome.answer == GOOD


async def test_an_answer_that_does_not_match_is_repaired_once_by_its_author() -> None:
    outcome = await _ask({"a": "x", "b": "y", "combine": ['{"colour": "green"}', GOOD]})
    assert outcome.answer == GOOD
    repair = outcome.server.asked[-1]
    assert repair["response_format"] == FORMAT
    assert repair["messages"][-2]["content"] == '{"colour": "green"}'
    assert "must be one of" in repair["messages"][-1]["content"]
    assert "combine#repair" in [event.agent for event in outcome.of(AgentFinished)]
    assert len(outcome.of(AnswerDelta)) == 1


async def test_an_answer_that_cannot_be_repaired_fails_the_run() -> None:
    outcome = await _ask({"a": "x", "b": "y", "combine": "Blue, of course."})
    assert (outcome.bad.code, outcome.bad.source) == ("format_not_met", "combine")
    assert outcome.server.asked_models().count("combine") == 2
    assert not outcome.of(AnswerDelta)


async def test_json_in_a_code_fence_is_sent_without_it() -> None:
    outcome = await _ask({"a": "x", "b": "y", "combine": f"Here:\n```json\n{GOOD}\n```"})
    assert outcome.answer == GOOD
    assert outcome.server.asked_models().count("combine") == 1


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ({"colour": "blue"}, None),
        ({"colour": "blue", "count": 3}, None),
        ({"colour": "blue", "count": 3.0}, None),
        ({"colour": "green"}, "the answer.colour must be one of ['blue', 'red']"),
        ({}, "the answer lacks 'colour'"),
        ({"colour": "blue", "x": 1}, "the answer must not have 'x'"),
        ({"colour": "blue", "count": 3.5}, "the answer.count must be of type integer"),
        ({"colour": "blue", "count": True}, "the answer.count must be of type integer"),
        ([], "the answer must be of type object"),
    ],
)
def test_the_first_fault_is_named_with_its_place(value: Any, fault: str | None) -> None:
    assert find_schema_fault(value, SCHEMA) == fault


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"$ref": "#/$defs/n", "$defs": {"n": {"type": "null"}}}, None, 1),
        ({"anyOf": [{"type": "string"}, {"type": "number"}]}, 1, None),
        ({"type": ["string", "null"]}, None, 1),
        ({"type": "array", "items": {"type": "string"}, "minItems": 1}, ["a"], []),
        ({"type": "array", "items": {"type": "string"}}, [], [1]),
        ({"type": "string", "pattern": "^a+$", "maxLength": 3}, "aaa", "aaaa"),
        ({"type": "number", "minimum": 1, "maximum": 2}, 1.5, 3),
        ({"const": 1}, 1, True),
        ({"allOf": [{"minimum": 1}, {"maximum": 2}]}, 2, 3),
        ({"additionalProperties": {"type": "string"}}, {"a": "b"}, {"a": 1}),
        ({"items": False}, [], [1]),
    ],
)
def test_the_keywords_of_structured_answers_are_checked(
    schema: dict[str, Any], good: Any, bad: Any
) -> None:
    assert find_schema_fault(good, schema) is None
    assert find_schema_fault(bad, schema) is not None


def test_a_schema_that_contains_itself_ends() -> None:
    assert find_schema_fault({}, {"$ref": "#"}) is None
