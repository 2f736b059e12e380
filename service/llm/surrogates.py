"""Characters that a server cuts in two: half a surrogate pair in each of two chunks, as JSON
escapes.

Half a character is no text, and no decoder that is strict takes it. Sans-IO.
"""

from __future__ import annotations

import json
import re
from typing import Any

_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")
_LAST_HALF = re.compile("[\ud800-\udbff]$")


def has_halves(data: bytes) -> bool:
    """Return whether JSON has escapes of surrogates: whole pairs, or halves."""
    return _ESCAPE.search(data) is not None


def loads(data: bytes) -> Any:
    """Return what JSON means, halves and all. Raises ValueError for what is no JSON."""
    try:
        return json.loads(data)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


class Joiner:
    """Makes whole characters of the halves in consecutive pieces of one text."""

    def __init__(self) -> None:
        self._half = ""

    def join(self, piece: str) -> str:
        """Return `piece` with what was held back before it; a last half waits for its other.

        A half that finds no other becomes U+FFFD.
        """
        if piece.isascii() and not self._half:  # nearly all of them
            return piece
        text, self._half = self._half + piece, ""
        if _LAST_HALF.search(text):
            text, self._half = text[:-1], text[-1]
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
