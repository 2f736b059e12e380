"""The agreement of texts by a plain measure: their words and their numbers. No model is asked.

The measure is the mean, over all pairs, of the cosine between the counts of content words (without
the most frequent words of English, plural and other endings cut). Texts with different numbers, or
of which one starts with yes and the other with no, are at most in doubt.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from itertools import combinations

from service.strategies.voting.numbers import find_numbers

IN_DOUBT = 0.6  # the most that texts with contradicting numbers can reach
_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")
_POLARITY = re.compile(r"^\W*(yes|no)\b", re.I)
_ENDING = re.compile(r"(?:ations?|ings?|ies|edly|ed|ly|es|s)$")
_LEAST_STEM = 3
_COMMON = frozenset(
    [
        "a",
        "about",
        "all",
        "also",
        "an",
        "and",
        "any",
        "are",
        "as",
        "at",
        "be",
        "because",
        "been",
        "but",
        "by",
        "can",
        "could",
        "do",
        "does",
        "for",
        "from",
        "had",
        "has",
        "have",
        "he",
        "her",
        "his",
        "how",
        "i",
        "if",
        "in",
        "into",
        "is",
        "it",
        "its",
        "just",
        "like",
        "may",
        "more",
        "most",
        "much",
        "no",
        "not",
        "of",
        "on",
        "one",
        "only",
        "or",
        "other",
        "our",
        "out",
        "over",
        "she",
        "should",
        "so",
        "some",
        "such",
        "than",
        "that",
        "the",
        "their",
        "them",
        "then",
        "there",
        "these",
        "they",
        "this",
        "those",
        "to",
        "up",
        "us",
        "very",
        "was",
        "we",
        "were",
        "what",
        "when",
        "where",
        "which",
        "while",
        "who",
        "why",
        "will",
        "with",
        "would",
        "you",
        "your",
    ]
)


def measure_agreement(texts: Sequence[str]) -> float:
    """Return the agreement of `texts`, 0 to 1; 1 for a single one."""
    pairs = list(combinations(texts, 2))
    return sum(_compare(*pair) for pair in pairs) / len(pairs) if pairs else 1.0


def _compare(one: str, other: str) -> float:
    if one.split() == other.split():
        return 1.0
    cosine = _cosine(count_words(one), count_words(other))
    return min(cosine, IN_DOUBT) if _contradict(one, other) else cosine


def _contradict(one: str, other: str) -> bool:
    """Return whether the texts have different numbers, or start with yes and no."""
    starts = [found[1].lower() for text in (one, other) if (found := _POLARITY.match(text))]
    numbers, others = set(find_numbers(one)), set(find_numbers(other))
    return len(set(starts)) > 1 or (bool(numbers and others) and not numbers & others)


def _cosine(one: Counter[str], other: Counter[str]) -> float:
    if not one or not other:
        return 0.0
    product = sum(number * other[word] for word, number in one.items())
    lengths = [math.sqrt(sum(number * number for number in each.values())) for each in (one, other)]
    return product / (lengths[0] * lengths[1])


def count_words(text: str) -> Counter[str]:
    """Return the content words of a text without their endings."""
    words = (word.lower() for word in _WORD.findall(text))
    return Counter(_stem(word) for word in words if word not in _COMMON)


def _stem(word: str) -> str:
    stem = _ENDING.sub("", word)
    return stem if len(stem) >= _LEAST_STEM else word
