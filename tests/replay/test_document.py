"""Exported runs as input: each unusable document is refused with one line."""

from __future__ import annotations

import json
from typing import Any

import pytest

from service.replay.document import ReplayError, read_document
from tests._support.runs.exports import a_document, a_record, a_recorded_call

WHOLE = json.dumps(a_document(a_recorded_call())).encode()
UNUSABLE: dict[str, bytes] = {
    "empty": b"",
    "truncated": WHOLE[: len(WHOLE) // 2],
    "without its last byte": WHOLE[:-1],
    "no JSON": b"\x89PNG\r\n\x1a\n",
    "a list": b"[]",
    "null": b"null",
    "another document": b'{"id": "chatcmpl-1", "choices": []}',
    "a later version": json.dumps(a_document(version=2)).encode(),
    "a strange version": json.dumps(a_document(version="\x1b[31m\n" * 50)).encode(),
    "invalid UTF-8": WHOLE.replace(b'"m"', b'"\xff\xfe"'),
    "too deep": b'{"format": ' + b"[" * 100_000,
    "no events": json.dumps(a_document(events=[])).encode(),
    "no final event": json.dumps(a_document(events=a_document()["events"][:2])).encode(),
    "an event without a type": json.dumps(a_document(events=[{"event": {"final": True}}])).encode(),
    "a negative time": json.dumps(a_document(a_recorded_call(took_ms=-1))).encode(),
    "an endless time": json.dumps(a_document(a_recorded_call(at_ms=1e300))).encode(),
    "not a number": WHOLE.replace(b'"took_ms": 50', b'"took_ms": NaN'),
    "an impossible status": json.dumps(
        a_document(a_recorded_call(failure={"code": "x", "status": 99}))
    ).encode(),
    "a text as the time of a run": json.dumps(
        a_document(run=a_document()["run"] | {"elapsed_ms": "x"})
    ).encode(),
    "a text as the time of an agent": json.dumps(
        a_document(run=a_document()["run"] | {"agents": [{"name": "a", "elapsed_ms": "x"}]})
    ).encode(),
    "a list as a first token": json.dumps(
        a_document(run=a_document()["run"] | {"agents": [{"name": "a", "first_token_ms": [1]}]})
    ).encode(),
    "a text as an agent": json.dumps(
        a_document(run=a_document()["run"] | {"agents": ["a"]})
    ).encode(),
    "a question that is no text": json.dumps(a_document(request={"question": None})).encode(),
    "a tool call at no place": json.dumps(
        a_document(a_recorded_call(pieces=[{"tool_call": {"index": []}}]))
    ).encode(),
    "a hostile id": json.dumps(a_document(run={"run_id": "../\r\nSet-Cookie: a=b"})).encode(),
}


@pytest.mark.parametrize("kind", UNUSABLE)
def test_an_unusable_document_is_refused_with_one_printable_line(kind: str) -> None:
    with pytest.raises(ReplayError) as refused:
        read_document(UNUSABLE[kind], "some\n\x1b[31mfile.json")
    message = str(refused.value)
    assert message.isprintable()
    assert message.startswith("some??[31mfile.json: ")
    assert len(message) < 600


def test_unknown_fields_are_accepted() -> None:
    record = a_record(a_recorded_call(later="x"), feedback=[{"score": 1}])
    assert record.calls[0].pieces[1].text == "👋"


def test_an_agent_without_a_recorded_call_gets_one_at_an_even_pace() -> None:
    agent: dict[str, Any] = {
        "name": "llm-2",
        "model": "m2",
        "state": "answered",
        "answer": "One two  three\n",
        "elapsed_ms": 100.0,
        "first_token_ms": 40.0,
    }
    run = a_document()["run"] | {"agents": [agent]}
    [call] = a_record(run=run).calls
    assert "".join(piece.text or "" for piece in call.pieces) == "One two  three\n"
    assert [piece.after_ms for piece in call.pieces] == [40.0, 20.0, 20.0, 20.0]
