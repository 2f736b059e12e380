"""SQL text for sqlite3, compiled once from the statements of SQLAlchemy.

Executed by SQLAlchemy, a statement costs 60 µs and 2 µs for each value, more than in SQLite itself.
The journal executes the same statements all the time, so their text and the conversions of their
values are retained here. Only statements that are module constants may be prepared.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NamedTuple

from sqlalchemy import Dialect, Insert, Select, UpdateBase
from sqlalchemy.sql.compiler import ExpandedState, SQLCompiler

from service.store.column_types import CleanText, clean_text

Values = Mapping[str, Any]
Convert = Callable[[Any], Any]

# Rows of an INSERT that are one statement. Before and after each statement, the connection's thread
# waits for the interpreter's lock, up to 5 ms while the event loop is busy.
_BLOCKS = (16, 4, 1)
_OF_ROW = re.compile(r"(?P<name>.+)_m(?P<row>\d+)")  # SQLAlchemy's name for a value of one row


class _Slot(NamedTuple):
    """A parameter in the text: the value `name` of the source with this number."""

    source: int
    name: str
    convert: Convert | None


@dataclass(frozen=True, slots=True)
class PreparedStatement:
    """A text with its parameters. `constants` are their last source, after those of the caller."""

    sql: str
    slots: Sequence[_Slot]
    constants: Values

    def encode(self, sources: Sequence[Values]) -> list[Any]:
        """Return the parameters in the order of the text."""
        every = [*sources, self.constants]
        return [
            convert(every[source][name]) if convert else every[source][name]
            for source, name, convert in self.slots
        ]


@dataclass(frozen=True, slots=True)
class PreparedQuery:
    """A query: `items` are the names of its list's items, if it has a list of that length."""

    statement: PreparedStatement
    items: Sequence[str]
    columns: Sequence[tuple[str, Convert | None]]

    def encode(self, values: Values) -> list[Any]:
        """Return the parameters for `values`; the last item of a short list is repeated."""
        if not self.items:
            return self.statement.encode([values])
        (listed,) = values.values()
        found = list(_flatten(listed))
        width = len(found) // len(listed)
        found += found[-width:] * ((len(self.items) - len(found)) // width)
        return self.statement.encode([dict(zip(self.items, found, strict=True))])

    def decode(self, row: Iterable[Any]) -> SimpleNamespace:
        """Return a row of the result with its values as attributes."""
        pairs = zip(self.columns, row, strict=True)
        return SimpleNamespace(
            **{name: convert(value) if convert else value for (name, convert), value in pairs}
        )


class PreparedStatements:
    """The prepared statements of one database."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._queries: dict[tuple[Select[Any], int], PreparedQuery] = {}
        self._changes: dict[tuple[UpdateBase, int], PreparedStatement] = {}

    def find_query(self, query: Select[Any], values: Values) -> PreparedQuery:
        """Return a query for `values`, which may be one list and then nothing else.

        A text for a list serves all lists up to its length, a power of two.
        """
        lengths = [len(each) for each in values.values() if isinstance(each, list)]
        length = 1 << (lengths[0] - 1).bit_length() if lengths else 0
        key = query, length
        if key not in self._queries:
            self._queries[key] = self._prepare_query(query, values, length)
        return self._queries[key]

    def find_change(self, change: UpdateBase, row: Values) -> PreparedStatement:
        """Return a statement that changes or deletes rows; its values are those of one `row`."""
        key = change, 1
        if key not in self._changes:
            compiled = self._compile(change)
            state = compiled.construct_expanded_state(row)
            places = {name: (0, name) for name in row}
            self._changes[key] = self._make_statement(compiled, state, places)
        return self._changes[key]

    def split_insert(
        self, insert: Insert, rows: Sequence[Values]
    ) -> Iterator[tuple[PreparedStatement, Sequence[Values]]]:
        """Yield statements, each with the rows that it inserts. All rows have the same columns."""
        start = 0
        for size in _BLOCKS:
            while len(rows) - start >= size:
                yield self._find_insert(insert, rows[start], size), rows[start : start + size]
                start += size

    def _find_insert(self, insert: Insert, row: Values, size: int) -> PreparedStatement:
        key = insert, size
        if key not in self._changes:
            compiled = self._compile(insert.values([dict(row)] * size))
            state = compiled.construct_expanded_state()
            places = {
                name: (int(found["row"]), found["name"])
                for name in state.positiontup or ()
                if (found := _OF_ROW.fullmatch(name))
            }
            self._changes[key] = self._make_statement(compiled, state, places)
        return self._changes[key]

    def _prepare_query(self, query: Select[Any], values: Values, length: int) -> PreparedQuery:
        sample = {
            name: [each[0]] * length if isinstance(each, list) else each
            for name, each in values.items()
        }
        compiled = self._compile(query)
        state = compiled.construct_expanded_state(sample)
        items = [item for names in state.parameter_expansion.values() for item in names]
        places = {name: (0, name) for name in items or values}
        statement = self._make_statement(compiled, state, places)
        return PreparedQuery(statement, items, [*self._list_columns(query)])

    def _list_columns(self, query: Select[Any]) -> Iterator[tuple[str, Convert | None]]:
        for column in query.selected_columns:
            kind = column.type.dialect_impl(self._dialect)
            yield str(column.key), kind.result_processor(self._dialect, None)

    def _compile(self, statement: Select[Any] | UpdateBase) -> SQLCompiler:
        compiled = statement.compile(dialect=self._dialect)
        assert isinstance(compiled, SQLCompiler)  # noqa: S101  (all statements but DDL)
        return compiled

    def _make_statement(
        self, compiled: SQLCompiler, state: ExpandedState, places: Mapping[str, tuple[int, str]]
    ) -> PreparedStatement:
        """Return a statement; parameters without a place (source and name) are constants."""
        constants_at = 1 + max((source for source, _ in places.values()), default=0)
        slots: list[_Slot] = []
        constants: dict[str, Any] = {}
        for name in state.positiontup or ():
            convert = self._find_conversion(compiled, state, name)
            if name in places:
                slots.append(_Slot(*places[name], convert))
            else:
                value = state.parameters[name]
                constants[name] = convert(value) if convert else value
                slots.append(_Slot(constants_at, name, None))
        return PreparedStatement(state.statement, slots, constants)

    def _find_conversion(
        self, compiled: SQLCompiler, state: ExpandedState, name: str
    ) -> Convert | None:
        bind = compiled.binds.get(name)
        if bind is None:  # an item of a list
            return state.processors.get(name)
        if isinstance(bind.type, CleanText):  # most values; its processor is three calls deep
            return clean_text
        return bind.type.dialect_impl(self._dialect).bind_processor(self._dialect)


def _flatten(items: Iterable[Any]) -> Iterator[Any]:
    """Yield the items, and instead of tuples their parts."""
    for each in items:
        if isinstance(each, tuple):
            yield from each
        else:
            yield each
