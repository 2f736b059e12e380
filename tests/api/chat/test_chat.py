"""The server-sent events of the chat API."""

from __future__ import annotations

import itertools

import pytest

from service.api.chat.chat import as_text
from service.domain import Usage
from service.events import AnswerDelta, RunFailed, RunFinished
from service.llm.sse_decoder import SSEDecoder

FINISHED = RunFinished("assistant", Usage(), None, 1.0, "assistant")


def written(*pieces: str, end: RunFinished | RunFailed = FINISHED) -> str:
    encode = as_text()
    events = [*(AnswerDelta("assistant", piece) for piece in pieces), end]
    return "".join(encode(seq, event) for seq, event in enumerate(events, 1))


def read(stream: str) -> list[str]:
    """Return the data of each event, parsed as the SSE standard requires."""
    return [event.data.decode() for event in SSEDecoder().feed(stream.encode())]


def test_each_piece_is_an_event_and_done_the_last() -> None:
    assert written("Why", " not?") == "data: Why\n\ndata:  not?\n\ndata: [DONE]\n\n"


@pytest.mark.parametrize(
    ("text", "event"),
    [
        ("a\nb", "data: a\ndata: b\n\n"),
        ("\n", "data: \ndata: \n\n"),
        ("a\r\nb\rc", "data: a\ndata: b\ndata: c\n\n"),
        ("  two", "data:   two\n\n"),
        ("data: x\n\n", "data: data: x\ndata: \ndata: \n\n"),
        ("\u2028\u2029\u0085\x0b\x0c\x1e", "data: \u2028\u2029\u0085\x0b\x0c\x1e\n\n"),
        ("\ufeff👋🧑‍🚀", "data: \ufeff👋🧑‍🚀\n\n"),
        ("", ""),
    ],
)
def test_a_piece_is_written_to_the_standard(text: str, event: str) -> None:
    assert written(text) == event + "data: [DONE]\n\n"


PIECES = ["a", "", " b ", "\n", "\r", "\r\n", "\n\nc", "d\r", "\ne\r\n"]


def test_what_is_read_is_the_answer_with_each_line_end_as_a_newline() -> None:
    for pieces in itertools.product(PIECES, repeat=3):
        *texts, last = read(written(*pieces))
        assert last == "[DONE]"
        assert "".join(texts) == "".join(pieces).replace("\r\n", "\n").replace("\r", "\n")


@pytest.mark.parametrize(
    "text",
    ["[DONE]", " [DONE]\n", "a\n[DONE]\nb", "[DONE][DONE]", '{"error": "x"}', '{ "error" :1}\n'],
)
def test_text_that_looks_like_an_event_of_ours_is_cut_in_two(text: str) -> None:
    *texts, _ = read(written(text))
    assert "".join(texts) == text
    assert len(texts) > 1
    lines = [line for each in texts for line in each.split("\n")]
    assert not [line for line in lines if line.strip() == "[DONE]" or '{"error' in line]


def test_a_failure_is_an_error_and_nothing_is_done() -> None:
    failure = RunFailed("assistant", "upstream_failed", "It “failed”.", True, Usage(), None, 1.0)
    assert written("Why", end=failure) == 'data: Why\n\ndata: {"error": "It “failed”."}\n\n'
