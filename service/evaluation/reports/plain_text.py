"""Texts of models and users as one harmless line, and escaped for Markdown and XML."""

from __future__ import annotations

import re
import unicodedata
from xml.sax.saxutils import escape

_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#|~!$&])")
# GitHub makes links of bare addresses.
_ADDRESS = re.compile(r":(?=//)|(?<=\bwww)\.", re.I)


def flatten(text: str, limit: int | None = None) -> str:
    """Return a text as one line without control and formatting characters, cut at `limit`.

    Escape sequences for terminals, and characters that reverse the direction of text, are removed.
    """
    cleaned = "".join(_replace(char) for char in text[: 4 * limit if limit else None])
    line = " ".join(cleaned.split())
    return line if limit is None or len(line) <= limit else f"{line[: limit - 1].rstrip()}…"


def _replace(char: str) -> str:
    category = unicodedata.category(char)
    if category in ("Cc", "Zl", "Zp", "Zs"):
        return " "
    return "" if category in ("Cf", "Cs", "Co", "Cn") else char


def escape_markdown(text: str) -> str:
    """Return one line of Markdown that shows `text` and nothing else."""
    escaped = _MARKDOWN.sub(r"\\\1", flatten(text))
    return _ADDRESS.sub(lambda found: f"&#{ord(found[0])};", escaped)


def escape_xml(text: str) -> str:
    """Return the content of an XML element, or of an attribute in double quotes."""
    return escape(flatten(text), {'"': "&quot;"})
