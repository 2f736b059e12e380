r"""Half a surrogate pair in the JSON of a request, which is no valid text.

JavaScript sends one, as the escape `\ud83d`, when a page cuts a text in the middle of an emoji.
Source: RFC 8259, 8.2; https://tc39.es/ecma262/#sec-quotejsonstring
"""

from __future__ import annotations

import re

_ESCAPED_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
# A complete pair, a lone surrogate, or any other escape, so that `\\ud83d` is none.
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|(?P<lone>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)


def replace_lone_surrogates(data: bytes) -> bytes:
    """Return JSON with U+FFFD for each lone surrogate, as the text of models has it."""
    if not _ESCAPED_SURROGATE.search(data):  # nearly always
        return data
    return _ESCAPE.sub(lambda found: rb"\ufffd" if found["lone"] else found[0], data)
