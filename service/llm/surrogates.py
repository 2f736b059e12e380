"""Surrogate pairs that a server splits: each chunk has one surrogate as a JSON escape. Sans-IO.

A lone surrogate is no valid text, and strict decoders refuse it. NUL is replaced here too, since
databases refuse it: clients receive the same text as the database.
"""

from __future__ import annotations

import json
import re
from typing import Any

_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")
_HIGH_SURROGATE_AT_END = re.compile("[\ud800-\udbff]$")


def has_surrogate_escapes(data: bytes) -> bool:
    """Return whether JSON has escapes of surrogates, in pairs or alone."""
    return _ESCAPE.search(data) is not None


def loads(data: bytes) -> Any:
    """Return decoded JSON, with lone surrogates. Raises ValueError for invalid JSON."""
    try:
        return json.loads(data)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def replace_lone_surrogates(text: str) -> str:
    """Return a complete text with U+FFFD for each lone surrogate and each NUL."""
    joiner = SurrogateJoiner()
    return joiner.join(text) + joiner.end()


class SurrogateJoiner:
    """Joins surrogates across consecutive pieces of one text.

    Replaces lone surrogates and NUL with U+FFFD.
    """

    def __init__(self) -> None:
        self.pending = ""  # a surrogate at the end of the pieces so far

    def join(self, piece: str) -> str:
        """Return `piece` after a pending surrogate; a surrogate at its end becomes pending."""
        if piece.isascii() and "\0" not in piece and not self.pending:  # nearly always
            return piece
        text, self.pending = (self.pending + piece).replace("\0", "\ufffd"), ""
        if _HIGH_SURROGATE_AT_END.search(text):
            text, self.pending = text[:-1], text[-1]
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")

    def end(self) -> str:
        """Return U+FFFD for a pending surrogate at the end of the text, else nothing."""
        is_pending, self.pending = bool(self.pending), ""
        return "\ufffd" if is_pending else ""
