"""Characters that a server cuts in two: half a surrogate pair in each of two chunks, as JSON
escapes.

Half a character is no text, and no decoder that is strict takes it. Nor is NUL, which databases
refuse: what is shown is what can be kept. Sans-IO.
"""

from __future__ import annotations

import json
import re
from typing import Any

_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")
_LAST_HALF = re.compile("[\ud800-\udbff]$")


def has_surrogate_escapes(data: bytes) -> bool:
    """Return whether JSON has escapes of surrogates: whole pairs, or halves."""
    return _ESCAPE.search(data) is not None


def loads(data: bytes) -> Any:
    """Return what JSON means, halves and all. Raises ValueError for what is no JSON."""
    try:
        return json.loads(data)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def replace_lone_surrogates(text: str) -> str:
    """Return a complete text with U+FFFD for each lone half of a surrogate pair, and for NUL."""
    joiner = SurrogateJoiner()
    return joiner.join(text) + joiner.end()


class SurrogateJoiner:
    """Makes whole characters of the halves in consecutive pieces of one text.

    U+FFFD stands for a half that finds no other, and for NUL.
    """

    def __init__(self) -> None:
        self._half = ""

    def join(self, piece: str) -> str:
        """Return `piece` with what was held back before it; a last half waits for its other."""
        if piece.isascii() and "\0" not in piece and not self._half:  # nearly all of them
            return piece
        text, self._half = (self._half + piece).replace("\0", "\ufffd"), ""
        if _LAST_HALF.search(text):
            text, self._half = text[:-1], text[-1]
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")

    def end(self) -> str:
        """Return what stands for a half that still waits, though nothing more will come."""
        waits, self._half = bool(self._half), ""
        return "\ufffd" if waits else ""
