"""What people type into a search field, as the query languages of both databases have it.

Words are all looked for, `"a phrase"` as it stands, `-word` must not be there, `or` separates
alternatives. Nothing else has a meaning: whatever is not a letter or a digit only ends a word,
and words that are joined by it, as in `well-known` or `a.b`, are a phrase. Nothing here can fail.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

MAX_TERMS = 50  # of a query; what comes after is left out
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
    """.split()  # noqa: SIM905  # a hundred quotes to read past
)

_PIECE = re.compile(r'(?P<minus>-*)(?:"(?P<quoted>[^"]*)"?|(?P<plain>[^\s"]+))')
WORD = re.compile(r"[^\W_]+")
_ACCENTED = re.compile("([a-z])[\u0300-\u036f]+")


@dataclass(frozen=True, slots=True)
class Alternative:
    """All of `wanted`, which are some, and none of `unwanted`."""

    wanted: tuple[Term, ...]
    unwanted: tuple[Term, ...]


@dataclass(frozen=True, slots=True)
class Query:
    """One of the alternatives must fit."""

    alternatives: tuple[Alternative, ...]

    @property
    def positive(self) -> Query:
        """The same without what must not be there, which no rank comes from."""
        return Query(tuple(Alternative(each.wanted, ()) for each in self.alternatives))

    @property
    def wanted(self) -> tuple[Term, ...]:
        """All that may be found, once each."""
        return tuple(dict.fromkeys(term for each in self.alternatives for term in each.wanted))


def parse_query(text: str, stop_words: frozenset[str] = frozenset()) -> Query | None:
    """Return what is looked for, None when nothing is: no word, or only unwanted or stop words."""
    groups: list[list[re.Match[str]]] = [[]]
    for piece in [*_PIECE.finditer(text)][:MAX_TERMS]:
        if piece[0].lower() == "or":
            groups.append([])
        else:
            groups[-1].append(piece)
    alternatives = [_parse_alternative(group, stop_words) for group in groups]
    useful = tuple(each for each in alternatives if each.wanted)
    return Query(useful) if useful else None


def normalize(text: str) -> str:
    """Return `text` in small letters, Latin ones without accents: as it is in the index."""
    low = text.lower()
    if low.isascii():
        return low
    apart = unicodedata.normalize("NFD", low)
    return unicodedata.normalize("NFC", _ACCENTED.sub(r"\1", apart))


def to_fts5(query: Query) -> str:
    """Return an expression for FTS5. Source: https://www.sqlite.org/fts5.html#full_text_query_syntax"""
    return " OR ".join(f"({_alternative_to_fts5(each)})" for each in query.alternatives)


def to_websearch(query: Query) -> str:
    """Return what PostgreSQL's websearch_to_tsquery is to read: all terms in quotes."""
    return " or ".join(
        " ".join(
            [*_quote_terms(each.wanted), *(f"-{term}" for term in _quote_terms(each.unwanted))]
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
    wanted = " AND ".join(_quote_terms(alternative.wanted))
    unwanted = " OR ".join(_quote_terms(alternative.unwanted))
    return f"({wanted}) NOT ({unwanted})" if unwanted else wanted


def _quote_terms(terms: Iterable[Term]) -> list[str]:
    # Words hold no quotes, so there is nothing to escape.
    return [f'"{" ".join(term)}"' for term in terms]
