"""Finds the line of a key in TOML text, for error messages: `tomllib` records no positions."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Sequence

_LINE = re.compile(r"line (\d+)")
_HEADER = re.compile(r"^\s*\[{1,2}(.+?)\]{1,2}\s*(#.*)?$")
_KEY = re.compile(r"""^\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*[^=\s]+)*)\s*=""")
_CLOSING = re.compile(r"\"{3}|'{3}|[\]}]")


def line_of(text: str, path: Sequence[str | int]) -> int:
    """Return the 1-based line that defines `path`, or its longest prefix that is defined."""
    wanted = tuple(str(part) for part in path)
    best, length = 1, 0
    for line, keys in _find_definitions(text):
        shared = len(keys) if keys == wanted[: len(keys)] else 0
        if shared > length:
            best, length = line, shared
    return best


def syntax_fault(error: tomllib.TOMLDecodeError, text: str) -> tuple[int, str]:
    """Return the 1-based line of a syntax error in `text` and the reason."""
    reason, _, place = str(error).partition(" (at ")
    line = _LINE.match(place)
    return (int(line[1]) if line else text.rstrip().count("\n") + 1), reason


def _find_definitions(text: str) -> Iterator[tuple[int, tuple[str, ...]]]:
    table: tuple[str, ...] = ()
    value = ""  # the lines so far of a value of several lines
    # Not splitlines, which also splits at U+2028 and similar characters.
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), 1):
        if value:
            value += f"\n{line}"
            if _CLOSING.search(line) and _is_complete(value):
                value = ""
        elif header := _HEADER.match(line):
            table = _split_key(header[1])
            yield number, table
        elif key := _KEY.match(line):
            yield number, (*table, *_split_key(key[1]))
            value = "" if _is_complete(line) else line


def _is_complete(statement: str) -> bool:
    try:
        tomllib.loads(statement)
    except tomllib.TOMLDecodeError:
        return False
    return True


def _split_key(dotted: str) -> tuple[str, ...]:
    try:
        node: object = tomllib.loads(f"{dotted} = 0")
    except tomllib.TOMLDecodeError:
        return (dotted,)
    keys = []
    while isinstance(node, dict):
        key, node = next(iter(node.items()))
        keys.append(key)
    return tuple(keys)
