"""Characters that come in halves."""

from __future__ import annotations

import pytest

from service.errors import BadStream
from service.llm.protocol import Reply
from service.llm.surrogates import SurrogateJoiner

FAMILY = "👨\u200d👩\u200d👧"


def _reply(*contents: bytes) -> Reply:
    """Return what comes of these contents, each the inside of a JSON string in a chunk."""
    reply = Reply()
    chunks = [b'{"choices":[{"delta":{"content":"%b"}}]}' % content for content in contents]
    reply.take(chunks, "model")
    return reply


def _halves(text: str) -> list[bytes]:
    """Return `text` as JSON escapes, one UTF-16 unit each."""
    units = text.encode("utf-16-be")
    return [b"\\u%02x%02x" % (units[at], units[at + 1]) for at in range(0, len(units), 2)]


def test_halves_in_two_chunks_become_one_character() -> None:
    assert _reply(b"a\\ud83d", b"\\ude00b").parts == ["a", "😀b"]


def test_a_text_of_nothing_but_halves_comes_out_whole() -> None:
    text = f"{FAMILY} 🇳🇴 👍🏽 é"
    assert _reply(*_halves(text)).text == text


def test_no_piece_is_ever_half_a_character() -> None:
    for part in _reply(*_halves(FAMILY)).parts:
        part.encode()


def test_whole_pairs_in_escapes_are_read_as_they_are() -> None:
    assert _reply(b"\\ud83d\\ude00", FAMILY.encode()).parts == ["😀", FAMILY]


@pytest.mark.parametrize(
    ("contents", "text"),
    [
        ((b"\\ud83d", b"x"), "\ufffdx"),
        ((b"\\ude00x",), "\ufffdx"),
        ((b"\\ud83d\\ud83d", b"\\ude00"), "\ufffd😀"),
        ((b"a\\u0000b", b"\\u0000"), "a\ufffdb\ufffd"),
    ],
)
def test_what_is_no_character_is_shown_as_such(contents: tuple[bytes, ...], text: str) -> None:
    assert _reply(*contents).text == text


def test_a_half_that_the_answer_ends_with_is_no_text_either() -> None:
    reply = _reply(b"x\\ud83d")
    assert reply.text == "x"
    reply.take([b'{"choices":[{"delta":{},"finish_reason":"stop"}]}'], "model")
    assert reply.text == "x\ufffd"


def test_what_is_no_json_stays_refused_though_it_has_halves() -> None:
    for data in (b'{"choices":[{"delta":{"content":"\\ud83d"}}]', b'{"a":"\\ud83d"' + b"[" * 10**5):
        with pytest.raises(BadStream):
            Reply().take([data], "model")


def test_text_in_plain_letters_is_passed_on_untouched() -> None:
    joiner = SurrogateJoiner()
    piece = "plain"
    assert joiner.join(piece) is piece
