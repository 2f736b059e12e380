"""Text of models without the characters that control a terminal."""

from __future__ import annotations

import re

# Controls but tab and line feed, and the characters that change the direction of text.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_PICTURES = 0x2400  # U+2400 and the following show the controls


def make_printable(text: str) -> str:
    """Return `text` with visible signs in place of control characters, such as ␛."""
    return _CONTROLS.sub(_show, text.replace("\r\n", "\n"))


def make_line(text: str) -> str:
    """Return `text` as one printable line."""
    return " ".join(make_printable(text).split())


def _show(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code < 0x20:
        return chr(_PICTURES + code)
    return "␡" if code == 0x7F else "�"
