"""Words of texts, and the index tokens of scripts without spaces between words.

Chinese, Japanese, Korean, Thai, Lao, Khmer and Burmese do not separate words, or not reliably. A
run of their characters is indexed as overlapping pairs and its last character, so any two or more
adjacent characters can be found: a b c becomes ab, bc, c. The tokens are ASCII letters and digits,
because the parsers of both databases treat these scripts differently. They end with a digit, which
keeps stemmers from changing them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from itertools import pairwise

MAX_INDEXED_CHARS = 50_000  # of each question and each answer
# PostgreSQL accepts at most 1 MB of words and positions for a question and its answer together; a
# pair takes up to 17 bytes of it.
_MAX_UNSPACED_CHARS = 25_000
# PostgreSQL numbers at most 16,383 words, and 256 places of each word. Beyond that it cannot decide
# whether pairs are adjacent; a text with this mark only has to contain them.
LONG_TEXT = "x0long"
_LONG_TEXT_CHARS = 5_000

# Sources: https://www.unicode.org/Public/UCD/latest/ucd/Scripts.txt, ScriptExtensions.txt
UNSPACED = (
    "\u0e01-\u0e3a\u0e40-\u0e4e\u0e50-\u0e59\u0e81-\u0edf"  # Thai, Lao
    "\u1000-\u109f\u1780-\u17d3\u17d7\u17dc-\u17e9"  # Burmese, Khmer
    "\u1100-\u11ff\u3131-\u318e\ua960-\ua97c\uac00-\ud7fb"  # Korean
    "\u3005-\u3007\u3041-\u3096\u3099\u309a\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff"  # Japanese
    "\u31f0-\u31ff\uff66-\uff9f\U0001b000-\U0001b167"
    "\u3105-\u312f\u31a0-\u31bf\u3021-\u3029\u2e80-\u2fd5"  # Bopomofo, Chinese
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufad9\U00020000-\U000323af"
)
SPACED = rf"[^\W_{UNSPACED}]"  # a letter or digit of another script
WORD = re.compile(f"[{UNSPACED}]+|{SPACED}+")
_RUN = re.compile(f"[{UNSPACED}]+")


def is_unspaced(word: str) -> bool:
    """Return whether `word`, a match of `WORD`, is in a script without spaces."""
    return _RUN.match(word) is not None


def encode_text(text: str) -> str | None:
    """Return the start of a text with runs as tokens, None if it has no run.

    Only this many characters are indexed: 50,000, of which 25,000 in scripts without spaces.
    """
    if text.isascii():
        return None
    text = unicodedata.normalize("NFC", text[:MAX_INDEXED_CHARS])
    pieces: list[str] = []
    place, left = 0, _MAX_UNSPACED_CHARS
    for run in _RUN.finditer(text):
        pieces += [text[place : run.start()], *encode_run_of_chars(run[0][:left], is_closed=True)]
        place = run.end()
        left -= min(left, len(run[0]))
    if not pieces:
        return None
    is_long = _MAX_UNSPACED_CHARS - left > _LONG_TEXT_CHARS
    return " ".join([*pieces, text[place:], *([LONG_TEXT] if is_long else [])])


def encode_run_of_chars(run: str, *, is_closed: bool) -> Iterator[str]:
    """Yield the tokens of a run; those of its end only if it `is_closed`."""
    codes = [f"{ord(char):05x}" for char in run]
    for first, second in pairwise(codes):
        yield f"g{first}{second}0"
    if codes and is_closed:
        yield f"g{codes[-1]}0"


def encode_start(char: str) -> str:
    """Return the start of all tokens that start with a character."""
    return f"g{ord(char):05x}"
