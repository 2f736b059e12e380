"""Tool calls in the pieces that model servers send."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from service.domain import ToolCall
from service.errors import BadStream
from service.llm.decoding.tool_calls import MAX_CALLS, ToolCallReader
from service.messages import join_tool_calls


def _piece(name: str | None = None, arguments: Any = None, **fields: Any) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {**fields, "function": {key: each for key, each in function.items() if each is not None}}


def _read(*messages: Any, legacy: bool = False) -> Sequence[ToolCall]:
    """Return the calls in the `tool_calls` of consecutive chunks, each joined."""
    reader = ToolCallReader()
    read = reader.read_legacy if legacy else reader.read
    pieces = [*(each for message in messages for each in read(message)), *reader.end()]
    return join_tool_calls(pieces)


def _show(calls: Sequence[ToolCall]) -> list[tuple[str, str, str]]:
    return [(call.id, call.name, call.arguments) for call in calls]


PARIS, ROME = '{"city":"Paris"}', '{"city":"Rome"}'
TWO = [("a1", "get_weather", PARIS), ("b2", "get_time", ROME)]


@pytest.mark.parametrize("indexes", [{}, {"index": 0}, {"index": None}, {"index": "x"}])
def test_a_new_id_starts_a_new_call(indexes: dict[str, Any]) -> None:
    first = _piece("get_weather", PARIS, id="a1", **indexes)
    second = _piece("get_time", ROME, id="b2", **indexes)
    assert _show(_read([first], [second])) == TWO
    assert _show(_read([first, second])) == TWO


@pytest.mark.parametrize("indexes", [{}, {"index": 0}])
def test_two_calls_of_one_function_are_two_calls(indexes: dict[str, Any]) -> None:
    first = _piece("get_weather", PARIS, id="a1", **indexes)
    second = _piece("get_weather", ROME, id="b2", **indexes)
    shown = [("a1", "get_weather", PARIS), ("b2", "get_weather", ROME)]
    assert _show(_read([first], [second])) == shown


def test_pieces_without_an_id_continue_the_call_of_their_index() -> None:
    calls = _read(
        [_piece("f", "", index=0, id="a1"), _piece("g", "", index=1, id="b2")],
        [_piece(arguments='{"x"', index=1), _piece(arguments="{", index=0)],
        [_piece(arguments=":1}", index=1), _piece(arguments="}", index=0)],
    )
    assert _show(calls) == [("a1", "f", "{}"), ("b2", "g", '{"x":1}')]


def test_pieces_without_id_and_index_continue_the_last_call() -> None:
    calls = _read([_piece("f", '{"x"', id="a1")], [_piece(arguments=":1}")])
    assert _show(calls) == [("a1", "f", '{"x":1}')]


def test_a_name_and_an_id_that_every_piece_repeats_are_read_once() -> None:
    calls = _read(*([_piece("f", part, index=0, id="a1")] for part in ('{"x"', ":", "1}")))
    assert _show(calls) == [("a1", "f", '{"x":1}')]


def test_new_ids_of_pieces_without_a_name_start_no_call() -> None:
    calls = _read(
        [_piece("f", '{"x"', index=0, id="a1")], [_piece(arguments=":1}", index=0, id="a2")]
    )
    assert _show(calls) == [("a1", "f", '{"x":1}')]


@pytest.mark.parametrize("indexes", [{}, {"index": 0}])
def test_calls_without_ids_get_one_each(indexes: dict[str, Any]) -> None:
    first, second = (_piece("f", each, **indexes) for each in (PARIS, ROME))
    for calls in (_read([first], [second]), _read([first, second])):
        assert [call.arguments for call in calls] == [PARIS, ROME]
        assert len({call.id for call in calls}) == 2
        assert all(call.id for call in calls)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"city": "Paris"}, PARIS),
        ({"größe": [1, None]}, '{"größe":[1,null]}'),
        ({}, "{}"),
        ([1], "[1]"),
        ("", "{}"),
        (None, "{}"),
        ({"n": 10**30}, '{"n":1000000000000000000000000000000}'),
    ],
)
def test_arguments_of_any_type_are_json_text(arguments: Any, text: str) -> None:
    (call,) = _read([_piece("f", arguments, id="a1")])
    assert call.arguments == text


def test_a_number_as_id_is_text() -> None:
    assert _show(_read([_piece("f", "{}", id=17)])) == [("17", "f", "{}")]


def test_unknown_fields_of_a_call_are_retained() -> None:
    google = {"google": {"thought_signature": "c2ln"}}
    (call,) = _read(
        [_piece("f", '{"x"', index=0, id="a1", extra_content=google)],
        [{"index": 0, "function": {"arguments": ":1}", "seal": 7}, "note": None}],
    )
    assert call.extra == {"extra_content": google, "function": {"seal": 7}}


@pytest.mark.parametrize("value", ["\ud83d", 10**30, float("nan")])
def test_unknown_fields_can_be_stored(value: Any) -> None:
    (call,) = _read([_piece("f", "{}", id="a1", odd={"deep": [value]})])
    json.dumps(call.extra).encode()


def test_a_legacy_function_call_is_a_call() -> None:
    pieces = [{"name": "f", "arguments": ""}, {"arguments": '{"x"'}, {"arguments": ":1}"}]
    (call,) = _read(*pieces, legacy=True)
    assert (call.name, call.arguments, bool(call.id)) == ("f", '{"x":1}', True)


@pytest.mark.parametrize("value", [[None, 3, "x"], 7, "f", [[]]])
def test_values_that_are_no_calls_are_left_out(value: Any) -> None:
    assert not _read(value)


def test_very_many_calls_are_refused() -> None:
    calls = [_piece("get_time", "{}", id=str(number)) for number in range(MAX_CALLS + 1)]
    assert len(_read(*([each] for each in calls[:-1]))) == MAX_CALLS
    with pytest.raises(BadStream, match="tool calls"):
        _read(calls)


def test_calls_with_one_id_and_other_indexes_are_several_calls() -> None:
    pieces = [_piece("f", PARIS, id="x", index=0), _piece("g", ROME, id="x", index=1)]
    for calls in (_read(pieces), _read(pieces[:1], pieces[1:])):
        assert [(call.name, call.arguments) for call in calls] == [("f", PARIS), ("g", ROME)]
        assert len({call.id for call in calls}) == 2


def test_pieces_with_one_id_continue_their_call_whatever_their_index() -> None:
    calls = _read(
        [_piece("f", '{"city":', id="x", index=0)], [_piece(arguments='"Paris"}', id="x", index=1)]
    )
    assert _show(calls) == [("x", "f", PARIS)]


@pytest.mark.parametrize("function", [{}, {"function": None}, {"function": "f"}])
def test_name_and_arguments_may_be_outside_of_the_function(function: dict[str, Any]) -> None:
    named = {} if function.get("function") else {"name": "f"}
    calls = _read([{"id": "x", **function, **named, "arguments": PARIS}])
    assert _show(calls) == [("x", "f", PARIS)]
    assert calls[0].extra == {}


@pytest.mark.parametrize("junk", [{"a": 1}, [{"a": 1}], [{"function": {}}], [{"index": 3}]])
def test_an_object_without_name_id_and_arguments_is_no_call(junk: Any) -> None:
    assert not _read(junk)
    assert _show(_read([_piece("f", PARIS, id="x", index=0)], junk)) == [("x", "f", PARIS)]
