"""The response object and its stream are computed from the log of a run."""

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
from service.runs.log import RunLog
from service.runs.run import Run
from tests._support.runs.event_samples import REPORT
from tests._support.runs.service import a_run

STARTED = RunStarted("run_1", "0" * 32, "fanout", ("a",))
USAGE = Usage(10, 20, 3, 4)


def make_end(reason: str = "stop") -> list[Event]:
    """Return the last events of a run with one agent, which stopped for `reason`."""
    return [
        AgentFinished("a", replace(REPORT, finish_reason=reason)),
        RunFinished(
            agent="a", usage=USAGE, cost=None, elapsed_ms=1500.0, answered_by="a", degraded=False
        ),
    ]


def make_failure(code: str = "upstream_failed") -> RunFailed:
    return RunFailed(
        agent="a",
        code=code,
        message="It went wrong.",
        partial=True,
        usage=USAGE,
        cost=None,
        elapsed_ms=3.0,
    )


def make_deltas(*texts: str) -> list[Event]:
    return [AnswerDelta("a", text) for text in texts]


def make_call(index: int, arguments: str, *, named: str = "") -> Event:
    call_id = f"call_{index}" if named else ""
    return AnswerToolCall("a", ToolCall(index, call_id, named, arguments))


def make_run(*events: Event) -> Run:
    return a_run([STARTED, AgentDelta("a", "not shown"), *events])


def encode_blocks(run: Run, after: int = -1) -> list[str]:
    """Return the stream of a run, an event each."""
    encode = ResponseEvents(run, after)
    text = "".join(encode(seq, event) for seq, event in run.log.numbered())
    *blocks, rest = text.split("\n\n")
    assert rest == ""
    return blocks


def parse_events(run: Run) -> list[dict[str, Any]]:
    """Return the data of each event; require that it contains the event's name and number."""
    data = []
    for number, block in enumerate(encode_blocks(run)):
        name, line = block.split("\n")
        data.append(json.loads(line.removeprefix("data: ")))
        assert name == f"event: {data[-1]['type']}"
        assert data[-1]["sequence_number"] == number
    return data


def list_types(events: Sequence[dict[str, Any]]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


def test_a_text_answer_is_one_item_with_one_part() -> None:
    events = parse_events(make_run(*make_deltas("Be", "cause"), *make_end()))
    assert list_types(events) == [
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


def test_a_function_call_is_an_item_whose_arguments_stream_in_pieces() -> None:
    run = make_run(
        make_call(0, "", named="f"),
        make_call(0, '{"a"'),
        make_call(0, ": 1}"),
        *make_end("tool_calls"),
    )
    events = parse_events(run)
    assert list_types(events)[2:] == [
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


def test_text_and_each_of_several_calls_are_items_of_their_own() -> None:
    run = make_run(
        *make_deltas("Let me look."),
        make_call(0, "{}", named="f"),
        make_call(1, "{", named="g"),
        make_call(0, " "),
        make_call(1, "}"),
        *make_deltas("There."),
        *make_end("tool_calls"),
    )
    events = parse_events(run)
    items = events[-1]["response"]["output"]
    assert [item["id"] for item in items] == ["msg_1", "fc_1_0", "fc_1_1", "msg_1_1"]
    assert [item.get("arguments") for item in items] == [None, "{} ", "{}", None]
    done = [event for event in events if event["type"] == "response.output_item.done"]
    assert sorted(event["output_index"] for event in done) == [0, 1, 2, 3]
    assert {item["status"] for item in items} == {"completed"}


@pytest.mark.parametrize(
    ("reason", "told_as"), [("length", "max_output_tokens"), ("content_filter", "content_filter")]
)
def test_a_truncated_answer_is_incomplete_with_a_reason(reason: str, told_as: str) -> None:
    events = parse_events(make_run(*make_deltas("Be"), *make_end(reason)))
    assert list_types(events)[-4:] == [
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
def test_a_failure_is_the_last_event_and_retains_the_text(code: str, status: str) -> None:
    events = parse_events(make_run(*make_deltas("Be"), make_failure(code)))
    assert list_types(events)[-2:] == ["output_text.delta", "failed"]
    response = events[-1]["response"]
    assert response["status"] == status
    assert response["error"] == {"code": code, "message": "It went wrong."}
    assert response["output"][0]["status"] == "incomplete"
    assert response["output"][0]["content"][0]["text"] == "Be"


@pytest.mark.parametrize(
    "events",
    [
        [*make_deltas("Be", "cause"), *make_end()],
        [*make_deltas("Be"), make_failure()],
        [
            *make_deltas("I"),
            make_call(0, "{}", named="f"),
            make_call(1, "{}", named="g"),
            *make_end(),
        ],
    ],
)
def test_a_stream_resumed_after_any_event_has_exactly_the_later_events(events: list[Event]) -> None:
    run = make_run(*events)
    whole = encode_blocks(run)
    assert count_events(run) == len(whole)
    for number in range(-1, len(whole) + 1):
        assert encode_blocks(run, number) == whole[number + 1 :]


@pytest.mark.parametrize(
    "end", [make_end(), make_end("length"), [make_failure()], [make_failure("cancelled")]]
)
def test_the_response_object_equals_that_of_the_last_event(end: list[Event]) -> None:
    run = make_run(*make_deltas("Be"), make_call(0, "{}", named="f"), *end)
    assert build_response(run) == parse_events(run)[-1]["response"]


def test_the_response_of_a_running_run_has_its_output_so_far() -> None:
    shown = build_response(make_run(*make_deltas("Be")))
    assert (shown["status"], shown["usage"], shown["completed_at"]) == ("in_progress", None, None)
    assert shown["output"][0]["status"] == "in_progress"
    assert shown["output"][0]["content"][0]["text"] == "Be"


def test_the_response_repeats_fields_of_the_request() -> None:
    run = make_run(*make_deltas("Be"), *make_end())
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
    assert build_response(make_run(*make_deltas("Be"), *make_end()))["usage"] == {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 0},
        "output_tokens": 20,
        "output_tokens_details": {"reasoning_tokens": 4},
        "total_tokens": 30,
    }


# --- a gap in the numbers of the run ---


def make_interrupted(*texts: str) -> Run:
    """Return a run that another worker ended as event 1,000, knowing only these texts."""
    run = make_run()
    events = [*run.log.after(0), *make_deltas(*texts), make_failure("interrupted")]
    run.log = RunLog(events, last_seq=1_000)
    return run


def read_number(block: str) -> int:
    number: int = json.loads(block.partition("data: ")[2])["sequence_number"]
    return number


def test_late_events_do_not_change_the_number_of_the_end() -> None:
    early, late = (encode_blocks(make_interrupted(*texts)) for texts in (("a",), ("a", "b", "c")))
    assert read_number(early[-1]) == read_number(late[-1]) == 1_000
    assert late[: len(early) - 1] == early[:-1]


def test_a_stream_continues_behind_any_number_before_and_in_the_gap() -> None:
    run = make_interrupted("a", "b")
    blocks = encode_blocks(run)
    for after in (0, 3, read_number(blocks[-2]), 500, 999, 1_000):
        assert encode_blocks(run, after) == [each for each in blocks if read_number(each) > after]
    assert count_events(run) == 1_001
