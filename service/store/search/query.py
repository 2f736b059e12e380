"""Parser of search queries, and their translation into both databases' query languages.

All words must match; `"a phrase"` matches as a whole, `-word` excludes, `or` separates
alternatives. All other characters that are not letters or digits end a word; words joined by
them, as in `well-known` or `a.b`, are a phrase, and so are a Chinese and a Latin word without a
space between them. Every text is a valid query.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from service.store.search.words import (
    LONG_TEXT,
    WORD,
    encode_run_of_chars,
    encode_start,
    is_unspaced,
)

MAX_TERMS = 50  # of a query; the rest is ignored
MAX_WORD_CHARS = 500  # of a word; PostgreSQL refuses those of more than 2 KB

Term = tuple[str, ...]  # a word, or the words of a phrase

# Source: PostgreSQL, src/backend/snowball/stopwords/english.stop
ENGLISH_STOP_WORDS = frozenset(
    """
    i me my myself we our ours ourselves you your yours yourself yourselves he him his himself she
    her hers herself it its itself they them their theirs themselves what which who whom this that
    these those am is are was were be been being have has had having do does did doing a an the and
    but if or because as until while of at by for with about against between into through during
    before after above below to from up down in out on off over under again further then once here
    there when where why how all any both each few more most other some such no nor not only own
    same so than too very s t can will just don should now
    """.split()  # noqa: SIM905  # shorter than a list of quoted words
)

_PIECE = re.compile(r'(?P<minus>-*)(?:"(?P<quoted>[^"]*)"?|(?P<plain>[^\s"]+))')
_ACCENTED = re.compile("([a-z])[\u0300-\u036f]+")


@dataclass(frozen=True, slots=True)
class Alternative:
    """Matches a text with all of `wanted` (not empty) and none of `unwanted`."""

    wanted: tuple[Term, ...]
    unwanted: tuple[Term, ...]


@dataclass(frozen=True, slots=True)
class Query:
    """Matches a text that one of the alternatives matches."""

    alternatives: tuple[Alternative, ...]

    @property
    def positive(self) -> Query:
        """The query without unwanted terms, which have no effect on the rank."""
        return Query(tuple(Alternative(each.wanted, ()) for each in self.alternatives))

    @property
    def wanted(self) -> tuple[Term, ...]:
        """All wanted terms, without duplicates."""
        return tuple(dict.fromkeys(term for each in self.alternatives for term in each.wanted))


def parse_query(text: str, stop_words: frozenset[str] = frozenset()) -> Query | None:
    """Return the query in `text`, None if it has only unwanted words, stop words or no words."""
    groups: list[list[re.Match[str]]] = [[]]
    for piece in [*_PIECE.finditer(text)][:MAX_TERMS]:
        if piece[0].lower() == "or":
            groups.append([])
        else:
            groups[-1].append(piece)
    alternatives = [_parse_alternative(group, stop_words) for group in groups]
    usable = tuple(each for each in alternatives if each.wanted)
    return Query(usable) if usable else None


def normalize(text: str) -> str:
    """Return `text` in lower case and Latin letters without accents, as in the index."""
    lower = text.lower()
    if lower.isascii():
        return lower
    decomposed = unicodedata.normalize("NFD", lower)
    return unicodedata.normalize("NFC", _ACCENTED.sub(r"\1", decomposed))


def to_fts5(query: Query) -> str:
    """Return the query as an FTS5 expression. Source: https://www.sqlite.org/fts5.html#full_text_query_syntax"""
    return " OR ".join(f"({_alternative_to_fts5(each)})" for each in query.alternatives)


def to_tsquery(query: Query) -> str:
    """Return the query for PostgreSQL's to_tsquery. Source: https://www.postgresql.org/docs/16/datatype-textsearch.html#DATATYPE-TSQUERY"""
    return " | ".join(
        " & ".join(
            [
                *map(_term_to_tsquery, each.wanted),
                *(f"!{_term_to_tsquery(term)}" for term in each.unwanted),
            ]
        )
        for each in query.alternatives
    )


def _parse_alternative(pieces: Sequence[re.Match[str]], stop_words: frozenset[str]) -> Alternative:
    terms = [(bool(piece["minus"]), _parse_term(piece, stop_words)) for piece in pieces]
    return Alternative(
        wanted=tuple(term for is_unwanted, term in terms if term and not is_unwanted),
        unwanted=tuple(term for is_unwanted, term in terms if term and is_unwanted),
    )


def _parse_term(piece: re.Match[str], stop_words: frozenset[str]) -> Term:
    plain = piece["plain"]
    words = tuple(
        word[:MAX_WORD_CHARS] for word in WORD.findall(normalize(plain or piece["quoted"]))
    )
    return () if plain and len(words) == 1 and words[0] in stop_words else words


def _alternative_to_fts5(alternative: Alternative) -> str:
    wanted = " AND ".join(map(_term_to_fts5, alternative.wanted))
    unwanted = " OR ".join(map(_term_to_fts5, alternative.unwanted))
    return f"({wanted}) NOT ({unwanted})" if unwanted else wanted


# Tokens contain no quotes, so nothing needs escaping.


def _term_to_fts5(term: Term) -> str:
    tokens, is_prefix = _list_tokens(term)
    return f'"{" ".join(tokens)}"{" *" if is_prefix else ""}'


def _term_to_tsquery(term: Term) -> str:
    tokens, is_prefix = _list_tokens(term)
    quoted = [f"'{token}'" for token in tokens]
    if is_prefix:
        quoted[-1] += ":*"
    phrase = " <-> ".join(quoted)
    if len(tokens) > 1 and any(map(is_unspaced, term)):
        return f"({phrase} | {' & '.join(quoted)} & '{LONG_TEXT}')"
    return f"({phrase})"


def _list_tokens(term: Term) -> tuple[list[str], bool]:
    """Return the tokens of a term in the index, and whether the last is only the start of one."""
    tokens: list[str] = []
    for word in term[:-1]:
        tokens += encode_run_of_chars(word, is_closed=True) if is_unspaced(word) else [word]
    last = term[-1]
    if not is_unspaced(last):
        return [*tokens, last], False
    if len(last) == 1:
        return [*tokens, encode_start(last)], True
    return [*tokens, *encode_run_of_chars(last, is_closed=False)], False
