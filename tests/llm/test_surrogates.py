"""Characters with surrogates that arrive in separate chunks."""

from __future__ import annotations

import pytest

from service.errors import BadStream
from service.llm.reply import Reply
from service.llm.surrogates import SurrogateJoiner

FAMILY = "👨\u200d👩\u200d👧"


def _read(*contents: bytes) -> Reply:
    """Return the reply to chunks with these contents, each the inside of a JSON string."""
    reply = Reply()
    chunks = [b'{"choices":[{"delta":{"content":"%b"}}]}' % content for content in contents]
    reply.take(chunks, "model")
    return reply


def _escape_units(text: str) -> list[bytes]:
    """Return a JSON escape for each UTF-16 unit of `text`."""
    units = text.encode("utf-16-be")
    return [b"\\u%02x%02x" % (units[at], units[at + 1]) for at in range(0, len(units), 2)]


def test_surrogates_in_two_chunks_become_one_character() -> None:
    assert _read(b"a\\ud83d", b"\\ude00b").content.parts == ["a", "😀b"]


def test_a_text_of_separate_surrogates_is_joined() -> None:
    text = f"{FAMILY} 🇳🇴 👍🏽 é"
    assert _read(*_escape_units(text)).text == text


def test_no_piece_contains_a_lone_surrogate() -> None:
    for part in _read(*_escape_units(FAMILY)).content.parts:
        part.encode()


def test_escaped_surrogate_pairs_are_decoded() -> None:
    assert _read(b"\\ud83d\\ude00", FAMILY.encode()).content.parts == ["😀", FAMILY]


@pytest.mark.parametrize(
    ("contents", "text"),
    [
        ((b"\\ud83d", b"x"), "\ufffdx"),
        ((b"\\ude00x",), "\ufffdx"),
        ((b"\\ud83d\\ud83d", b"\\ude00"), "\ufffd😀"),
        ((b"a\\u0000b", b"\\u0000"), "a\ufffdb\ufffd"),
    ],
)
def test_lone_surrogates_and_nul_become_replacement_characters(
    contents: tuple[bytes, ...], text: str
) -> None:
    assert _read(*contents).text == text


def test_a_lone_surrogate_at_the_end_becomes_a_replacement_character() -> None:
    reply = _read(b"x\\ud83d")
    assert reply.text == "x"
    reply.take([b'{"choices":[{"delta":{},"finish_reason":"stop"}]}'], "model")
    reply.finish("model")
    assert reply.text == "x\ufffd"


def test_invalid_json_with_surrogates_is_refused() -> None:
    for data in (b'{"choices":[{"delta":{"content":"\\ud83d"}}]', b'{"a":"\\ud83d"' + b"[" * 10**5):
        assert isinstance(Reply().take([data], "model").error, BadStream)


def test_ascii_text_is_returned_unchanged() -> None:
    joiner = SurrogateJoiner()
    piece = "plain"
    assert joiner.join(piece) is piece
