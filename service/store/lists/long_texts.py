"""Texts of several runs, read in parts of bounded size.

A question can have 8 MB and an answer 4 million characters, so a hundred of them neither fit into
memory nor can be read without delaying other readers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement
from sqlalchemy.ext.asyncio import AsyncConnection

from service.store.records import StoredRun
from service.store.rows import RUN_COLUMNS, decode_run
from service.store.schema import runs
from service.store.scope import Scope

_PART_BYTES = 1_000_000
_PART_RUNS = 100

Texts = tuple[str, str]  # a question and its answer
Parts = Sequence[Sequence[str]]  # ids of runs

_TEXTS = (runs.c.question, runs.c.answer)
# Stand for texts, which are read apart, and for columns that lists do not show.
_STAND_INS: Mapping[str, ColumnElement[Any]] = {
    **{name: sa.literal("").label(name) for name in ("question", "answer")},
    **{name: sa.null().label(name) for name in ("whole", "particulars", "tool_calls")},
}
_LISTED_COLUMNS = [_STAND_INS.get(column.name, column) for column in RUN_COLUMNS]


async def read_listed_runs(
    connection: AsyncConnection, scope: Scope, column: ColumnElement[Any], values: Sequence[Any]
) -> tuple[dict[Any, StoredRun], Parts]:
    """Return the runs by these values of a unique column, in this order, without missing ones.

    The second value is `Page.unread`.
    """
    size = measure(connection, *_TEXTS).label("size")
    columns = [column.label("listed_by"), *_LISTED_COLUMNS, size]
    rows = await connection.execute(scope.select_keys(columns, values))
    by_value = {row.listed_by: row for row in rows}
    found = {value: by_value[value] for value in values if value in by_value}
    first, *rest = split([(row.id, row.size) for row in found.values()]) or [[]]
    texts = await read_texts(connection, scope, first)
    listed = {value: with_texts(decode_run(row), texts.get(row.id)) for value, row in found.items()}
    return listed, rest


async def read_texts(
    connection: AsyncConnection, scope: Scope, ids: Collection[str]
) -> dict[str, Texts]:
    """Return the texts of runs by id, without those of deleted runs."""
    if not ids:
        return {}
    rows = await connection.execute(scope.select_keys([runs.c.id, runs.c.owner, *_TEXTS], ids))
    return {row.id: (row.question, row.answer) for row in rows}


def measure(connection: AsyncConnection, *columns: ColumnElement[Any]) -> ColumnElement[int]:
    """Return the size of texts: bytes in PostgreSQL, characters in SQLite, which is faster there.

    PostgreSQL does not read a long text for its size.
    """
    size = sa.func.octet_length if connection.dialect.name == "postgresql" else sa.func.length
    sizes = [sa.func.coalesce(size(column), 0) for column in columns]
    return sum(sizes[1:], sizes[0])


def split(sizes: Sequence[tuple[str, int]]) -> list[list[str]]:
    """Return the ids in parts of at most 1 MB; a longer text is a part of its own."""
    return [*_split(sizes)]


def _split(sizes: Sequence[tuple[str, int]]) -> Iterator[list[str]]:
    part: list[str] = []
    total = 0
    for run_id, size in sizes:
        if part and (total + size > _PART_BYTES or len(part) == _PART_RUNS):
            yield part
            part, total = [], 0
        part.append(run_id)
        total += size
    if part:
        yield part


def with_texts(run: StoredRun, texts: Texts | None) -> StoredRun:
    """Return `run` with these texts; unchanged for None."""
    return replace(run, question=texts[0], answer=texts[1]) if texts else run
