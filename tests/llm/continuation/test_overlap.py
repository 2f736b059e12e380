"""Joins of a text that broke off and its continuation, with and without repetitions."""

from __future__ import annotations

import random
import re

import pytest

from service.llm.continuation.overlap import OverlapTrimmer, find_open_fence, join_continuation

PROSE = (
    "Gravity is what makes an apple fall: every mass attracts every other mass. The Earth is "
    "heavy, so it wins.\n\nHow strong is that pull? On the ground 9.81 m/s², on the Moon a sixth "
    "of it. Größere Körper ziehen stärker 🚀 an; naïve guesses about 100 or 1,000 kg are wrong.\n\n"
    "- First, drop two stones.\n- Then measure both times.\n\n```python\ndef fall(height):\n"
    "    seconds = (2 * height / 9.81) ** 0.5\n    return round(seconds, 3)\n```\n\nThat is all."
)
CHINESE = "引力是物体之间相互吸引的力量。地球很重，所以苹果会掉下来。月球上的引力只有六分之一。"


def _join(text: str, continuation: str, seed: int = 0) -> str:
    """Return the joined text; the continuation arrives in random pieces."""
    chosen, trimmer, parts = random.Random(seed), OverlapTrimmer(text), []
    at = 0
    while at < len(continuation):
        size = chosen.randint(1, 9)
        parts.append(trimmer.feed(continuation[at : at + size]))
        at += size
    joined = text + "".join(parts) + trimmer.finish()
    assert joined == text + join_continuation(text, continuation)
    return joined


@pytest.mark.parametrize("answer", [PROSE, CHINESE])
def test_a_continuation_without_repetition_is_not_changed(answer: str) -> None:
    for cut in range(1, len(answer), 2):
        assert _join(answer[:cut], answer[cut:], cut) == answer


@pytest.mark.parametrize("answer", [PROSE, CHINESE])
def test_a_repetition_of_everything_is_removed_at_every_cut(answer: str) -> None:
    for cut in range(12, len(answer), 5):
        assert _join(answer[:cut], answer, cut) == answer


def test_repeated_last_words_are_removed_at_every_cut() -> None:
    words = [match.start() for match in re.finditer(r"\w{2,}", PROSE)]
    for cut in range(30, len(PROSE), 5):
        starts = [at for at in words if at < cut - 2][-6:]
        for number, start in enumerate(starts):
            if len(starts) - number >= 2:  # two words and more
                assert _join(PROSE[:cut], PROSE[start:], cut) == PROSE, (PROSE[start:cut], start)


def test_repeated_last_characters_are_removed_also_within_a_word() -> None:
    for cut in range(40, len(PROSE), 3):
        for length in (10, 17, 33):
            if sum(map(str.isalpha, PROSE[cut - length : cut])) > 6:
                assert _join(PROSE[:cut], PROSE[cut - length :], cut) == PROSE


def test_the_repeated_last_sentence_is_removed_at_every_cut() -> None:
    sentences = [0, *(match.end() for match in re.finditer(r"[.?]\s+", PROSE))]
    for cut in range(40, len(PROSE), 5):
        start = [at for at in sentences if at < cut - 12][-1]
        assert _join(PROSE[:cut], PROSE[start:], cut) == PROSE
        assert _join(PROSE[:cut], f" {PROSE[start:]}", cut) == PROSE


@pytest.mark.parametrize(
    ("text", "continuation", "joined"),
    [
        ("The sky is", "is blue.", "The sky is blue."),
        ("The sky is", " is blue.", "The sky is blue."),
        ("The sky is ", "is blue.", "The sky is blue."),
        ("The sky is ", " blue.", "The sky is blue."),
        ("The sky is", " blue.", "The sky is blue."),
        ("About gravi", "gravity.", "About gravity."),
        ("About gravi", "ty.", "About gravity."),
        ("I saw the", " they", "I saw the they"),
        ("One.\n\n", "One. Two.", "One.\n\nTwo."),
        ("One.", "One.\n\nTwo.", "One.\n\nTwo."),
        ("One.\n\n", "\n\nTwo.", "One.\n\nTwo."),
        ("- a\n", "\n- b", "- a\n\n- b"),
        ("- a\n-", "- b", "- a\n- b"),
        ("- a\n- ", "- b", "- a\n- b"),
        ("a\n\n-", "--\n", "a\n\n---\n"),
        ("1. a\n2.", "2. b", "1. a\n2. b"),
        ("a\n\n##", "## B", "a\n\n## B"),
        ("if x:\n    ", "if x:\n        y", "if x:\n        y"),
        ("if x:\n    ", "    y", "if x:\n        y"),
        ("One  two\nthree", "two three four", "One  two\nthree four"),
    ],
)
def test_white_space_and_words_at_the_seam(text: str, continuation: str, joined: str) -> None:
    assert _join(text, continuation) == joined


@pytest.mark.parametrize(
    ("text", "continuation"),
    [
        ("ha ha", " ha ha!"),
        ("la ", "la la, the end"),
        ("[0, 0, 0, ", "0, 0, 0]"),
        ("again and again and", " again and again"),
        ("Row, row, row your boat.\nRow, row, row your boat.\n", "Row, row, row your boat.\n"),
        ("costs 1", "1 dollars"),
        ("costs 1", "100 dollars"),
        ("0.3", "3333"),
        ("| a | ", "| b |"),
        ("    }\n    }\n", "    }\n}\n"),
        ("x = a", "bs(x)"),
        ("哈哈", "哈哈哈"),
        ("---\n---\n", "---\n"),
        ("no", "tify"),
    ],
)
def test_patterns_and_numbers_that_repeat_on_purpose_are_not_changed(
    text: str, continuation: str
) -> None:
    assert _join(text, continuation) == text + continuation


def test_random_texts_of_few_words_lose_nothing_where_words_repeat() -> None:
    chosen = random.Random(11)
    for _ in range(300):
        words = [chosen.choice(["ba", "na", "na na"]) for _ in range(chosen.randint(6, 20))]
        answer = " ".join(["na na", *words])
        cut = chosen.randint(6, len(answer) - 1)
        joined = _join(answer[:cut], answer[cut:], cut)
        lost = len(answer) - len(joined)
        # A repetition that was removed was at most one that the text does not have twice in a row.
        assert lost == 0 or answer[cut:].strip()[: lost - 1].strip() in answer[:cut]


def test_a_code_block_that_is_opened_again_is_continued() -> None:
    text = "Look:\n```python\nfor i in range(3):\n"
    assert find_open_fence(text) == "python"
    rest = "    print(i)\n```\nDone."
    assert _join(text, f"```python\n{rest}") == text + rest
    assert _join(text, f"```python\nfor i in range(3):\n{rest}") == text + rest
    assert _join(text, "```\nDone.") == f"{text}```\nDone."
    assert find_open_fence(text + "```\n") is None
    closed = text + "    pass\n```\nThen:\n"
    assert _join(closed, "```python\nx = 1\n```") == closed + "```python\nx = 1\n```"


def test_pieces_are_retained_only_while_they_may_be_a_repetition() -> None:
    trimmer = OverlapTrimmer(PROSE)
    assert trimmer.feed(" Never") == " Never"
    assert trimmer.feed(" Gravity is what") == " Gravity is what"
    trimmer = OverlapTrimmer(PROSE)
    assert trimmer.feed("Gravity is what makes") == ""
    assert trimmer.feed(" pears") == "Gravity is what makes pears"


def test_a_long_repetition_takes_linear_time() -> None:
    answer = " ".join(f"word{number}" for number in range(60_000))
    trimmer = OverlapTrimmer(answer)
    parts = [trimmer.feed(answer[at : at + 6]) for at in range(0, len(answer), 6)]
    assert "".join(parts) + trimmer.feed(" the end") + trimmer.finish() == " the end"
