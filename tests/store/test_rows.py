"""Stored JSON keeps its format: rows of earlier versions are read, and new rows look the same."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from service.conversation import Branch
from service.domain import Message, RequestOptions
from service.messages import parse_chat_message
from service.store.rows import encode_run, read_preceding
from tests._support.runs.store_records import make_run

RESULT = {"role": "tool", "tool_call_id": "1", "content": "Rain."}
PRECEDING = (Message("user", "By the way:"), parse_chat_message(RESULT))
PARTICULARS = {
    "options": {"temperature": 0.5},
    "instructions": "Be brief.",
    "echo": {"user": "ann"},
    "background": True,
    "preceding": [
        {"role": "user", "content": "By the way:", "whole": None},
        {"role": "tool", "content": "Rain.", "whole": json.dumps(RESULT, separators=(",", ":"))},
    ],
    "follows": "run_0",
}


def _row(**changes: Any) -> Any:
    made = make_run(preceding=PRECEDING)
    options = RequestOptions(
        parameters={"temperature": 0.5},
        instructions="Be brief.",
        echo={"user": "ann"},
        background=True,
    )
    ask = replace(made.ask, options=options, history=Branch("conv_1", "run_0"), **changes)
    return encode_run(replace(made, ask=ask))


def test_options_and_the_place_in_the_conversation_are_stored_as_before() -> None:
    assert json.loads(_row()["particulars"]) == PARTICULARS


def test_a_request_without_options_stores_none() -> None:
    assert encode_run(make_run())["particulars"] is None


def test_preceding_messages_of_a_row_are_read() -> None:
    assert read_preceding(json.dumps(PARTICULARS)) == PRECEDING
    assert read_preceding(None) == ()


def test_a_question_is_stored_with_its_role_unless_it_is_a_users() -> None:
    row = _row(messages=(Message("system", "Be brief."),))
    assert json.loads(row["whole"]) == {"role": "system", "content": "Be brief."}
    assert _row()["whole"] is None
