"""JSON in the texts of models."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.strategies.judging.json_text import find_json


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1}',
        '  {"a": 1}\n',
        '```json\n{"a": 1}\n```',
        'Sure! Here it is:\n```\n{"a": 1}\n```\nHope that helps.',
        'The verdict: {"a": 1}. Thanks!',
        '{"a": 1,}',
        "{“a”: 1}",
        'First {"b": 2}, but finally {"a": 1}',
        'A set {x} and a [link](url) and {"a": 1}',
        '{"b": 1} ```json\n{"a": 1,\n}\n```',
    ],
)
def test_an_object_is_found(text: str) -> None:
    assert find_json(text) == {"a": 1}


def test_brackets_and_commas_in_strings_are_text() -> None:
    value = {"a": "}, ] {", "b": 'quoted " and \\', "c": ",]"}
    assert find_json(f"It is {json.dumps(value)}!") == value
    assert find_json('{"a": ",]", "b": [1, 2, ], }') == {"a": ",]", "b": [1, 2]}


@pytest.mark.parametrize("text", ["", "None.", "{", '{"a": 1', "42", '"text"', "[" * 100_000])
def test_a_text_without_json_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="no JSON"):
        find_json(text)


@given(
    st.dictionaries(st.text(), st.text() | st.integers() | st.none()), st.sampled_from(["", "x: "])
)
def test_any_object_is_found_after_prose(value: dict[str, object], lead: str) -> None:
    assert find_json(lead + json.dumps(value)) == value
