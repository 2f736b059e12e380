"""The places of a query's terms in a text. Pure functions."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence

from service.store.search.excerpt import Span
from service.store.search.query import Term
from service.store.search.words import MAX_INDEXED_CHARS, SPACED, is_unspaced

Forms = Mapping[str, Collection[str]]  # the words with the same stem, by word

_ACCENTS = "[\u0300-\u036f]*"
_ACCENTED = re.compile(f"[a-z]{_ACCENTS}")
_BEFORE, _AFTER = f"(?<!{SPACED})", f"(?!{SPACED})"
_GAP, _GAP_OR_NONE = r"[\W_]+", r"[\W_]*"
_PREFIX_CHARS = 2  # words with the same stem share at least these


def _make_latin_letters() -> Mapping[int, str]:
    """Return the letter without accents of each small Latin letter with accents."""
    letters = {}
    for code in (*range(0xC0, 0x250), *range(0x1E00, 0x1F00)):
        decomposed = unicodedata.normalize("NFD", chr(code))
        if _ACCENTED.fullmatch(decomposed):
            letters[code] = decomposed[0]
    return letters


_LATIN_LETTERS = _make_latin_letters()
_HAS_ACCENTS = re.compile("[\u00c0-\u024f\u1e00-\u1eff]")


def fold(text: str) -> str:
    """Return `text` in lower case and Latin letters without accents, each at its place."""
    lower = text.replace("\u0130", "i").lower()  # the only letter whose small form is longer
    return lower.translate(_LATIN_LETTERS) if _HAS_ACCENTS.search(lower) else lower


def find_similar_words(folded: Iterable[str], words: Iterable[str]) -> set[str]:
    """Return the words in texts that may have the same stem as one of `words`."""
    starts = {re.escape(word[:_PREFIX_CHARS]) for word in words}
    pattern = re.compile(f"{_BEFORE}(?:{'|'.join(sorted(starts))}){SPACED}*")
    return {word for text in folded for word in pattern.findall(text)}


def compile_terms(terms: Iterable[Term], forms: Forms) -> re.Pattern[str]:
    """Return a pattern that finds the terms in folded text; of two at one place, the longer."""
    longest_first = sorted(terms, key=len, reverse=True)
    return re.compile("|".join(_make_pattern(term, forms) for term in longest_first))


def find_spans(folded: str, pattern: re.Pattern[str]) -> Sequence[Span]:
    """Return the places of a pattern in the part of a text that is indexed."""
    return [match.span() for match in pattern.finditer(folded, 0, MAX_INDEXED_CHARS)]


def _make_pattern(term: Term, forms: Forms) -> str:
    pattern = ""
    for at, word in enumerate(term):
        if at:
            touches = is_unspaced(word) != is_unspaced(term[at - 1])
            pattern += _GAP_OR_NONE if touches else _GAP
        pattern += _make_word_pattern(word, forms.get(word, (word,)))
    return pattern


def _make_word_pattern(word: str, forms: Collection[str]) -> str:
    if is_unspaced(word):
        return re.escape(word)
    longest_first = sorted(forms, key=len, reverse=True)
    return f"{_BEFORE}(?:{'|'.join(map(_allow_accents, longest_first))}){_AFTER}"


def _allow_accents(word: str) -> str:
    # Some letters with accents consist of several characters.
    return "".join(f"{char}{_ACCENTS}" if "a" <= char <= "z" else re.escape(char) for char in word)
