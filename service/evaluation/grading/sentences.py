"""The sentences of a text's final answer, and the words in them."""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

from service.strategies.voting.final_answer import find_final_answer

_SENTENCE_END = re.compile(r"(?<=[.!?。])\s+(?=[^\W\d_a-z]|[\d\"“*(])|\n+")
_CHATTER = re.compile(
    r"hope (this|that) helps|let me know|feel free|is there anything|happy to help|any questions",
    re.I,
)
_CORRECTIONS = re.compile(
    r"\b(?:but|however|actually|wait|correction|instead|sorry|on second thought|wrong)\b", re.I
)
_HEDGES = re.compile(
    r"\b(?:not|never|neither|nor|no longer|isn.?t|wasn.?t|aren.?t|weren.?t|doesn.?t|didn.?t|"
    r"cannot|can.?t|or|either|maybe|perhaps|possibly|might|may be|could be|unsure|uncertain|"
    r"rather than|instead of|unlike)\b",
    re.I,
)
_NO_WORD = re.compile(r"[^\w+#%°$€£]+|_")
_ARTICLES = {"a", "an", "the"}


class FinalAnswer(NamedTuple):
    """The final answer of a text, and the sentences of it that can state it.

    Those are the last one and, where nothing is corrected after it, the first one.
    """

    text: str
    sentences: tuple[str, ...]


def read_final_answer(text: str) -> FinalAnswer:
    """Return the final answer of a text, without polite phrases after it."""
    lines = [line for line in text.strip().splitlines() if line.strip()]
    while len(lines) > 1 and _CHATTER.search(lines[-1]):
        lines.pop()
    final = find_final_answer("\n".join(lines))
    sentences = [each.strip() for each in _SENTENCE_END.split(final) if each.strip()]
    while len(sentences) > 1 and _CHATTER.search(sentences[-1]):
        sentences.pop()
    candidates = sentences[-1:]
    if len(sentences) > 1 and not any(_CORRECTIONS.search(each) for each in sentences):
        candidates.append(sentences[0])
    return FinalAnswer(final, tuple(candidates))


def split_words(text: str) -> list[str]:
    """Return the words of a text without letter case, Unicode forms, punctuation and articles."""
    plain = unicodedata.normalize("NFKC", text).casefold().replace("’", "'").replace("'s ", " ")
    return [word for word in _NO_WORD.sub(" ", plain).split() if word not in _ARTICLES]


def find_words(words: list[str], phrase: list[str]) -> bool:
    """Return whether the words of a phrase occur next to each other."""
    length = len(phrase)
    starts = range(len(words) - length + 1)
    return bool(phrase) and any(words[at : at + length] == phrase for at in starts)


def find_hedge(sentence: str) -> str:
    """Return a word that denies or leaves open what a sentence states; empty without one."""
    found = _HEDGES.search(sentence)
    return found[0].lower() if found else ""
