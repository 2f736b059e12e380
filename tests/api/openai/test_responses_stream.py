"""A run as OpenAI's response: the object and the stream are folds over its log."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from service.api.openai.responses.response import ResponseEvents, build_response, count_events
from service.domain import RequestOptions, ToolCall, Usage
from service.events import (
    AgentDelta,
    AgentFinished,
    AnswerDelta,
    AnswerToolCall,
    Event,
    RunFailed,
    RunFinished,
    RunStarted,
)
from service.runs.run import Run
from tests._support.runs.event_samples import REPORT
from tests._support.runs.service import a_run

STARTED = RunStarted("run_1", "0" * 32, "fanout", ("a",))
USAGE = Usage(10, 20, 3, 4)


def finished(reason: str = "stop") -> list[Event]:
    """Return how a run ends whose only agent stopped for `reason`."""
    return [
        AgentFinished("a", replace(REPORT, finish_reason=reason)),
        RunFinished(
            agent="a", usage=USAGE, cost=None, elapsed_ms=1500.0, answered_by="a", degraded=False
        ),
    ]


def failed(code: str = "upstream_failed") -> RunFailed:
    return RunFailed(
        agent="a",
        code=code,
        message="It went wrong.",
        partial=True,
        usage=USAGE,
        cost=None,
        elapsed_ms=3.0,
    )


def said(*texts: str) -> list[Event]:
    return [AnswerDelta("a", text) for text in texts]


def call(index: int, arguments: str, *, named: str = "") -> Event:
    call_id = f"call_{index}" if named else ""
    return AnswerToolCall("a", ToolCall(index, call_id, named, arguments))


def run_of(*events: Event) -> Run:
    return a_run([STARTED, AgentDelta("a", "not shown"), *events])


def blocks_of(run: Run, after: int = -1) -> list[str]:
    """Return the stream of a run, an event each."""
    encode = ResponseEvents(run, after)
    text = "".join(encode(seq, event) for seq, event in enumerate(run.log.after(0), 1))
    *blocks, rest = text.split("\n\n")
    assert rest == ""
    return blocks


def told(run: Run) -> list[dict[str, Any]]:
    """Return the data of each event, whose name and number must be in it."""
    data = []
    for number, block in enumerate(blocks_of(run)):
        name, line = block.split("\n")
        data.append(json.loads(line.removeprefix("data: ")))
        assert name == f"event: {data[-1]['type']}"
        assert data[-1]["sequence_number"] == number
    return data


def types(events: Sequence[dict[str, Any]]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


def test_an_answer_in_words_is_one_item_with_one_part() -> None:
    events = told(run_of(*said("Be", "cause"), *finished()))
    assert types(events) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert [event["delta"] for event in events[4:6]] == ["Be", "cause"]
    assert events[6]["text"] == events[7]["part"]["text"] == "Because"
    assert events[-1]["response"]["output"] == [events[8]["item"]]
    assert {event["item_id"] for event in events[3:8]} == {events[8]["item"]["id"]} == {"msg_1"}


def test_a_call_of_a_function_is_an_item_whose_arguments_come_in_pieces() -> None:
    run = run_of(call(0, "", named="f"), call(0, '{"a"'), call(0, ": 1}"), *finished("tool_calls"))
    events = told(run)
    assert types(events)[2:] == [
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]
    (item,) = events[-1]["response"]["output"]
    assert item == {
        "id": "fc_1_0",
        "type": "function_call",
        "status": "completed",
        "call_id": "call_0",
        "name": "f",
        "arguments": '{"a": 1}',
    }
    assert events[2]["item"] == {**item, "status": "in_progress", "arguments": ""}


def test_words_and_several_calls_each_have_their_place() -> None:
    run = run_of(
        *said("Let me look."),
        call(0, "{}", named="f"),
        call(1, "{", named="g"),
        call(0, " "),
        call(1, "}"),
        *said("There."),
        *finished("tool_calls"),
    )
    events = told(run)
    items = events[-1]["response"]["output"]
    assert [item["id"] for item in items] == ["msg_1", "fc_1_0", "fc_1_1", "msg_1_1"]
    assert [item.get("arguments") for item in items] == [None, "{} ", "{}", None]
    done = [event for event in events if event["type"] == "response.output_item.done"]
    assert sorted(event["output_index"] for event in done) == [0, 1, 2, 3]
    assert {item["status"] for item in items} == {"completed"}


@pytest.mark.parametrize(
    ("reason", "told_as"), [("length", "max_output_tokens"), ("content_filter", "content_filter")]
)
def test_an_answer_that_was_cut_is_incomplete_and_says_why(reason: str, told_as: str) -> None:
    events = told(run_of(*said("Be"), *finished(reason)))
    assert types(events)[-4:] == [
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "incomplete",
    ]
    response = events[-1]["response"]
    assert (response["status"], response["incomplete_details"]) == (
        "incomplete",
        {"reason": told_as},
    )
    assert response["output"][0]["status"] == "incomplete"


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("upstream_failed", "failed"),
        ("interrupted", "failed"),
        ("cancelled", "cancelled"),
        ("abandoned", "cancelled"),
    ],
)
def test_a_failure_is_the_last_event_and_keeps_what_came(code: str, status: str) -> None:
    events = told(run_of(*said("Be"), failed(code)))
    assert types(events)[-2:] == ["output_text.delta", "failed"]
    response = events[-1]["response"]
    assert response["status"] == status
    assert response["error"] == {"code": code, "message": "It went wrong."}
    assert response["output"][0]["status"] == "incomplete"
    assert response["output"][0]["content"][0]["text"] == "Be"


@pytest.mark.parametrize(
    "events",
    [
        [*said("Be", "cause"), *finished()],
        [*said("Be"), failed()],
        [*said("I"), call(0, "{}", named="f"), call(1, "{}", named="g"), *finished()],
    ],
)
def test_the_rest_behind_any_event_is_exactly_the_rest(events: list[Event]) -> None:
    run = run_of(*events)
    whole = blocks_of(run)
    assert count_events(run) == len(whole)
    for number in range(-1, len(whole) + 1):
        assert blocks_of(run, number) == whole[number + 1 :]


@pytest.mark.parametrize("end", [finished(), finished("length"), [failed()], [failed("cancelled")]])
def test_the_object_is_that_of_the_last_event(end: list[Event]) -> None:
    run = run_of(*said("Be"), call(0, "{}", named="f"), *end)
    assert build_response(run) == told(run)[-1]["response"]


def test_the_object_of_a_run_that_goes_on_has_what_there_is_so_far() -> None:
    shown = build_response(run_of(*said("Be")))
    assert (shown["status"], shown["usage"], shown["completed_at"]) == ("in_progress", None, None)
    assert shown["output"][0]["status"] == "in_progress"
    assert shown["output"][0]["content"][0]["text"] == "Be"


def test_it_says_what_the_request_said() -> None:
    run = run_of(*said("Be"), *finished())
    tool = {"type": "function", "name": "f", "parameters": {}, "strict": True}
    echo = {"metadata": {"a": "b"}, "tools": [tool], "reasoning": {"effort": "low"}, "top_p": 0.5}
    run.options = RequestOptions(echo=echo, instructions="Be brief.", background=True)
    shown = build_response(run)
    assert shown["metadata"] == {"a": "b"}
    assert shown["tools"] == [{**tool, "description": None}]
    assert shown["reasoning"] == {"effort": "low", "summary": None}
    assert (shown["top_p"], shown["instructions"], shown["background"]) == (0.5, "Be brief.", True)
    assert shown["completed_at"] - shown["created_at"] in (1, 2)


def test_usage_is_as_openai_has_it() -> None:
    assert build_response(run_of(*said("Be"), *finished()))["usage"] == {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 0},
        "output_tokens": 20,
        "output_tokens_details": {"reasoning_tokens": 4},
        "total_tokens": 30,
    }
