"""TOML text whose tables may be repeated, and the lines of its keys for error messages.

In TOML a table must not be defined twice. Here the keys of the later one override those of the
earlier one, so that a few lines can be added at the end of a file, and removed again.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_LINE = re.compile(r"line (\d+)")
_HEADER = re.compile(r"^\s*\[{1,2}(.+?)\]{1,2}\s*(#.*)?$")
_KEY = re.compile(r"""^\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*[^=\s]+)*)\s*=""")
_CLOSING = re.compile(r"\"{3}|'{3}|[\]}]")


def load_tables(text: str) -> dict[str, Any]:
    """Return the content of TOML text. Raises tomllib.TOMLDecodeError."""
    tables: dict[str, Any] = {}
    for part in _split_at_repeated_tables(text):
        tables = _merge(tables, tomllib.loads(part))
    return tables


def _split_at_repeated_tables(text: str) -> Iterator[str]:
    """Yield parts of `text` without repeated tables; blank lines before a part keep its lines."""
    lines = text.replace("\r\n", "\n").split("\n")
    start = 0
    seen: set[tuple[str, ...]] = set()
    for number, keys, is_table in _find_definitions(text):
        if is_table and keys in seen:
            yield "\n" * start + "\n".join(lines[start : number - 1])
            start = number - 1
            seen.clear()
        if is_table and not lines[number - 1].lstrip().startswith("[["):
            seen.add(keys)
    yield "\n" * start + "\n".join(lines[start:])


def _merge(earlier: Mapping[str, Any], later: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(earlier)
    for key, value in later.items():
        before = merged.get(key)
        if isinstance(before, dict) and isinstance(value, dict):
            merged[key] = _merge(before, value)
        else:
            merged[key] = value
    return merged


def line_of(text: str, path: Sequence[str | int]) -> int:
    """Return the last 1-based line that defines `path`, or its longest prefix that is defined."""
    wanted = tuple(str(part) for part in path)
    best, length = 1, 0
    for line, keys, _ in _find_definitions(text):
        shared = len(keys) if keys == wanted[: len(keys)] else 0
        if shared and shared >= length:
            best, length = line, shared
    return best


def syntax_fault(error: tomllib.TOMLDecodeError, text: str) -> tuple[int, str]:
    """Return the 1-based line of a syntax error in `text` and the reason."""
    reason, _, place = str(error).partition(" (at ")
    line = _LINE.match(place)
    return (int(line[1]) if line else text.rstrip().count("\n") + 1), reason


def _find_definitions(text: str) -> Iterator[tuple[int, tuple[str, ...], bool]]:
    """Yield the 1-based line of each key and table, its path, and whether it is a table.

    The path of an array's table contains its index: `rules`, `0` is that of the first `[[rules]]`.
    """
    table: tuple[str, ...] = ()
    lengths: Counter[tuple[str, ...]] = Counter()  # of the arrays of tables
    value = ""  # the lines so far of a value of several lines
    # Not splitlines, which also splits at U+2028 and similar characters.
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), 1):
        if value:
            value += f"\n{line}"
            if _CLOSING.search(line) and _is_complete(value):
                value = ""
        elif header := _HEADER.match(line):
            table = _add_indexes(_split_key(header[1]), lengths)
            if line.lstrip().startswith("[["):
                lengths[table] += 1
                table = (*table, str(lengths[table] - 1))
            yield number, table, True
        elif key := _KEY.match(line):
            yield number, (*table, *_split_key(key[1])), False
            value = "" if _is_complete(line) else line


def _add_indexes(keys: tuple[str, ...], lengths: Mapping[tuple[str, ...], int]) -> tuple[str, ...]:
    """Return the path of a table with the index of the last table of each array before its end."""
    path: tuple[str, ...] = keys[:1]
    for key in keys[1:]:
        if length := lengths.get(path, 0):
            path = (*path, str(length - 1))
        path = (*path, key)
    return path


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
