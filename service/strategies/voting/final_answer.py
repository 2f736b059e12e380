"""The final answer in a text, and the key under which equal final answers are counted.

Source of voting on final answers: self-consistency, https://arxiv.org/abs/2203.11171
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Hashable
from typing import Any

from service.strategies.judging.json_text import find_json
from service.strategies.voting.numbers import read_number

SHORT_CHARS = 60  # a longer final answer is a text, about which no vote is possible

_MOST_BOXES = 20  # that are read; each may extend to the end of the text

_BOXED = re.compile(r"\\(?:boxed|fbox)\s*\{")
_MARKED = re.compile(
    r"(?:^|\n|[.!?]\s+)[\s>#*_]*(?:so |therefore,? |thus,? |hence,? )?(?:the )?"
    r"(?:(?:final |correct |short )?(?:answer|result|solution)|conclusion|antwort|r[ée]ponse)"
    r"(?: is(?: therefore| thus)?|[*_]*\s*[:：=])[*_]*[ \t]*[:：]?[ \t]*\n*[ \t]*"
    r"(?P<answer>[^\n]+)",
    re.I,
)
_EMPHASIS = re.compile(r"(\*\*|__|\*|_|`+|~~)(?=\S)(.+?)(?<=\S)\1")
_LATEX = re.compile(r"\\(?:text|mathrm|mathbf|textbf|mathit|operatorname)\s*\{([^{}]*)\}")
_LATEX_FRACTION = re.compile(r"\\[dt]?frac\s*\{([^{}]+)\}\s*\{([^{}]+)\}")
_LATEX_NOISE = re.compile(r"\\[,;!: ]|\\left|\\right|\\displaystyle|\\\(|\\\)|\\\[|\\\]")
_LATEX_INLINE = re.compile(r"\${1,2}([^$]+)\${1,2}")
_CHOICE = re.compile(r"^\(?(?P<letter>[a-z])(?:\)|[.:](?=\s)|\)?$)(?:[.:)]?\s.*)?$", re.I | re.S)
_POLARITY = re.compile(r"^(yes|true|false|no(?=[,.;:!—–-]|$| it| they| there))\b", re.I)
_ARTICLE = re.compile(r"\b(?:a|an|the)\b")
_LEAD = re.compile(
    r"^(?:it is|it's|that is|this is|approximately|about|around|roughly|≈|~|=)\s*", re.I
)
_NO_WORD = re.compile(r"[^\w%°$€£¥/+.#&\-]+")
_SAME_TRUTH = {"true": "yes", "false": "no"}


def find_final_answer(text: str) -> str:
    """Return the final answer of a text, such as the content of `\\boxed{}`, or the text itself.

    In their order: JSON as the whole text, a box, a line that names the answer, the last line.
    """
    text = text.strip()
    if _read_json(text) is not None:
        return text
    if boxed := _find_boxed(text):
        return boxed
    if marked := [found["answer"] for found in _MARKED.finditer(text)]:
        return _strip_marks(marked[-1])
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    last = _strip_marks(lines[-1]) if lines else ""
    return last if len(lines) > 1 and len(last) <= SHORT_CHARS else _strip_marks(text)


def make_key(answer: str) -> Hashable:
    """Return equal values for equal final answers: numbers by value, JSON by field."""
    value = _read_json(answer)
    return ("text", _normalize(answer)) if value is None else ("json", _freeze(value))


def is_short(answer: str) -> bool:
    """Return whether a final answer is short or structured, so that votes on it make sense."""
    return len(answer) <= SHORT_CHARS or _read_json(answer) is not None


def _read_json(text: str) -> Any:
    """Return the object or array that is the whole of a text, also in a code fence; else None."""
    bare = re.sub(r"^```[\w-]*\s*|\s*```$", "", text.strip())
    if not (bare[:1] in ("{", "[") and bare[-1:] in ("}", "]")):
        return None
    try:
        return find_json(bare)
    except ValueError:
        return None


def _find_boxed(text: str) -> str:
    """Return the content of the last box, whose braces may be nested."""
    for found in list(_BOXED.finditer(text))[: -_MOST_BOXES - 1 : -1]:
        depth = 1
        for at in range(found.end(), len(text)):
            depth += {"{": 1, "}": -1}.get(text[at], 0)
            if not depth:
                return text[found.end() : at].strip()
    return ""


def _strip_marks(text: str) -> str:
    """Return a text without emphasis, quotes and a full stop at its end."""
    while (plain := _EMPHASIS.sub(r"\2", text.strip())) != text:
        text = plain
    return text.lstrip("#> ").strip(" \t\"'“”„«»").rstrip(".!,;").strip(" \"'“”«»*_`")


def _normalize(answer: str) -> Hashable:
    """Return the value of a number, the letter of a choice, yes or no, or the words."""
    text = unicodedata.normalize("NFKC", _LATEX_NOISE.sub(" ", answer))
    text = _LATEX_INLINE.sub(r"\1", text.replace("\u2044", "/"))
    text = _LATEX.sub(r"\1", _LATEX_FRACTION.sub(r"\1/\2", text)).replace("\\%", "%")
    text = _LEAD.sub("", _strip_marks(text).lower()).strip()
    if (number := read_number(text)) is not None:
        return number
    if choice := _CHOICE.match(text):
        return choice["letter"]
    if polarity := _POLARITY.match(text):
        word = polarity[1]
        return _SAME_TRUTH.get(word, word)
    words = _NO_WORD.sub(" ", _ARTICLE.sub(" ", text)).split()
    return " ".join(word.strip(".-/") or word for word in words)


def _freeze(value: Any) -> Hashable:
    """Return JSON as a hashable value: keys without order, strings and numbers normalized."""
    if isinstance(value, dict):
        return frozenset((str(key).strip().lower(), _freeze(each)) for key, each in value.items())
    if isinstance(value, list):
        return tuple(_freeze(each) for each in value)
    if value is None or isinstance(value, bool):
        return ("constant", str(value))
    return _normalize(str(value))
