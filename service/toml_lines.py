"""Finds the line of a key in TOML text, for error messages. `tomllib` keeps no positions."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Sequence

_HEADER = re.compile(r"^\s*\[{1,2}(.+?)\]{1,2}\s*(#.*)?$")
_KEY = re.compile(r"""^\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*[^=\s]+)*)\s*=""")


def line_of(text: str, path: Sequence[str | int]) -> int:
    """Return the 1-based line where `path`, or its longest known beginning, is defined."""
    wanted = tuple(str(part) for part in path)
    best, length = 1, 0
    for line, keys in _definitions(text):
        shared = len(keys) if keys == wanted[: len(keys)] else 0
        if shared > length:
            best, length = line, shared
    return best


def _definitions(text: str) -> Iterator[tuple[int, tuple[str, ...]]]:
    table: tuple[str, ...] = ()
    quote = ""  # the delimiter of a multi-line string we are inside of
    for number, line in enumerate(text.splitlines(), 1):
        if quote:
            quote = "" if quote in line else quote
            continue
        if header := _HEADER.match(line):
            table = _parts(header[1])
            yield number, table
        elif key := _KEY.match(line):
            yield number, (*table, *_parts(key[1]))
        for delimiter in ('"""', "'''"):
            if line.count(delimiter) % 2:
                quote = delimiter


def _parts(dotted: str) -> tuple[str, ...]:
    try:
        node: object = tomllib.loads(f"{dotted} = 0")
    except tomllib.TOMLDecodeError:
        return (dotted,)
    keys = []
    while isinstance(node, dict):
        key, node = next(iter(node.items()))
        keys.append(key)
    return tuple(keys)
