"""The three formats of the text stream, event by event."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from service.api.text.stream import as_events, as_lines, as_text
from service.domain import AgentReport, Usage
from service.events import AgentFinished, AnswerDelta, Event, RunFailed, RunFinished, RunStarted
from service.runs.log import RunLog
from service.runs.run import Run

AWKWARD = [
    "  two",
    "\n\nnew\r\nlines\r",
    "\u2028\u2029\u0085",
    "👋🧑‍🚀",
    "ß\t\x0b\x0c\x1f",
    '"}]\\',
    "data: x\n\n",
]


def a_run(*pieces: str, end: Event | None = None, finish_reason: str = "stop") -> Run:
    report = AgentReport(
        agent="assistant",
        model="m",
        text="",
        usage=Usage(),
        cost=None,
        elapsed_ms=1.0,
        first_token_ms=1.0,
        finish_reason=finish_reason,
    )
    finished = RunFinished("assistant", Usage(), None, 1.0, "assistant")
    events: list[Event] = [
        RunStarted("run_01a1", "0" * 32, "solo", ("assistant",)),
        *(AnswerDelta("assistant", piece) for piece in pieces),
        AgentFinished("assistant", report),
        end or finished,
    ]
    return Run(
        id="run_01a1",
        owner="anonymous",
        message_id="msg_1",
        conversation_id="conv_1",
        ensemble_name="solo",
        config_hash="",
        trace_id="0" * 32,
        created_at=datetime(2026, 11, 21, tzinfo=UTC),
        log=RunLog(events),
    )


def failed(message: str, *, partial: bool = True) -> RunFailed:
    return RunFailed("assistant", "upstream_failed", message, partial, Usage(), None, 1.0)


def written(run: Run, form: Any) -> str:
    encode, _ = form(run)
    return "".join(encode(seq, event) for seq, event in enumerate(run.log.after(0), 1))


def lines_of(run: Run) -> list[Any]:
    text = written(run, as_lines)
    assert text.isascii()
    assert text.endswith("\n")
    return [json.loads(line) for line in text.split("\n")[:-1]]


def data_of(run: Run) -> list[str]:
    text = written(run, as_events)
    assert text.isascii()
    blocks = text.split("\n\n")
    assert blocks.pop() == ""
    assert all(block.startswith("data: ") and "\n" not in block for block in blocks)
    return [block.removeprefix("data: ") for block in blocks]


def said(chunks: list[Any]) -> str:
    return "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)


def test_text_is_the_answer_and_nothing_else() -> None:
    assert written(a_run(*AWKWARD), as_text) == "".join(AWKWARD)


def test_lines_hold_the_answer_whatever_it_is_made_of() -> None:
    assert said(lines_of(a_run(*AWKWARD))) == "".join(AWKWARD)


def test_events_hold_the_answer_whatever_it_is_made_of() -> None:
    *chunks, done = data_of(a_run(*AWKWARD))
    assert done == "[DONE]"
    assert said([json.loads(chunk) for chunk in chunks]) == "".join(AWKWARD)


def test_every_chunk_has_openais_fields_and_the_same_id_time_and_model() -> None:
    chunks = lines_of(a_run("Hello", " you"))
    for chunk in chunks:
        assert chunk.keys() == {
            "id",
            "object",
            "created",
            "model",
            "system_fingerprint",
            "choices",
        }
        (choice,) = chunk["choices"]
        assert choice.keys() == {"index", "delta", "finish_reason"}
        assert choice["index"] == 0
        assert chunk["id"] == "chatcmpl-01a1"
        assert chunk["object"] == "chat.completion.chunk"
        assert chunk["created"] == 1795219200
        assert chunk["model"] == "solo"


def test_the_first_chunk_has_the_role_and_only_the_last_a_finish_reason() -> None:
    choices = [chunk["choices"][0] for chunk in lines_of(a_run("Hello", " you"))]
    assert choices[0]["delta"] == {"role": "assistant", "content": ""}
    assert [choice["finish_reason"] for choice in choices] == [None, None, None, "stop"]
    assert choices[-1]["delta"] == {}


@pytest.mark.parametrize(
    ("told", "shown"), [("length", "length"), ("stop", "stop"), ("", "stop"), ("odd", "stop")]
)
def test_the_finish_reason_says_whether_the_limit_cut_the_answer(told: str, shown: str) -> None:
    assert lines_of(a_run("Hello", finish_reason=told))[-1]["choices"][0]["finish_reason"] == shown


def test_a_failure_is_the_last_line_of_the_text() -> None:
    run = a_run("Half an", end=failed("The server\nbroke off."))
    assert written(run, as_text) == "Half an\n\n[error: The server broke off.]\n"


@pytest.mark.parametrize("form", [as_lines, as_events])
def test_a_failure_is_an_error_object_after_which_nothing_comes(form: Any) -> None:
    last = written(a_run("Half an", end=failed("It broke off.")), form).strip().split("\n")[-1]
    assert json.loads(last.removeprefix("data: ")) == {
        "error": {
            "message": "It broke off.",
            "type": "server_error",
            "param": None,
            "code": "upstream_failed",
        }
    }


def test_what_is_said_in_silence_is_nothing_a_chunk_or_a_comment() -> None:
    run = a_run()
    assert as_text(run)[1].keep_alive == b""
    assert json.loads(as_lines(run)[1].keep_alive)["choices"][0]["delta"] == {}
    assert as_events(run)[1].keep_alive == b": keep-alive\n\n"
