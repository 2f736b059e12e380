# ruff: noqa: S608  # statements composed of constants of this file
"""Indexes Chinese, Japanese, Korean, Thai and similar texts by pairs of characters.

Two columns hold the words to index of a question and an answer; they are NULL for texts without
such characters, whose index entries do not change. The journal writes them, because neither
database can compute pairs of characters in a trigger in a reasonable time.
"""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa
from alembic import op

from service.store.search.words import encode_text

revision = "0007"
down_revision = "0006"

_CHARS = 50_000
_COLUMNS = ("question_words", "answer_words")
_ROWS_AT_ONCE = 20
_SELECT = sa.text(f"""
    SELECT number, substr(question, 1, {_CHARS}) AS question, substr(answer, 1, {_CHARS}) AS answer
    FROM runs WHERE number > :after ORDER BY number LIMIT {_ROWS_AT_ONCE}
""")
_UPDATE = sa.text("""
    UPDATE runs SET question_words = :question, answer_words = :answer WHERE number = :number
""")
_CLEAR = """
    UPDATE runs SET question_words = NULL, answer_words = NULL
    WHERE question_words IS NOT NULL OR answer_words IS NOT NULL
"""


def upgrade() -> None:
    bind = op.get_bind()
    for column in _COLUMNS:
        op.add_column("runs", sa.Column(column, sa.Text))
    _execute(_drop_triggers(bind.dialect.name))
    _execute(_create_triggers(bind.dialect.name, has_words=True))
    _fill(bind)


def downgrade() -> None:
    dialect = op.get_bind().dialect.name
    op.execute(_CLEAR)  # the triggers index the texts again
    _execute(_drop_triggers(dialect))
    for column in reversed(_COLUMNS):
        op.drop_column("runs", column)
    _execute(_create_triggers(dialect, has_words=False))


def _fill(bind: sa.Connection) -> None:
    """Set the columns of all rows that need them, some rows at a time."""
    after = -1
    while rows := bind.execute(_SELECT, {"after": after}).all():
        for row in rows:
            question, answer = encode_text(row.question), encode_text(row.answer)
            if question or answer:
                values = {"number": row.number, "question": question, "answer": answer}
                bind.execute(_UPDATE, values)
        after = rows[-1].number


def _execute(statements: Iterable[str]) -> None:
    for statement in statements:
        # Without parameter parsing, since a colon is no parameter here.
        op.get_bind().exec_driver_sql(statement)


def _drop_triggers(dialect: str) -> list[str]:
    if dialect == "postgresql":
        return ["DROP TRIGGER search_changed_runs ON runs"]
    names = ("search_new_runs", "search_changed_runs", "search_gone_runs")
    return [*(f"DROP TRIGGER {name}" for name in names), "DROP VIEW searchable_runs"]


def _create_triggers(dialect: str, *, has_words: bool) -> list[str]:
    return _postgresql(has_words) if dialect == "postgresql" else _sqlite(has_words)


# --- SQLite ---

_SQLITE_INDEXES = ("run_stems", "run_words")
_IS_SEARCHABLE = "{row}.state <> 'running' AND {row}.superseded_by IS NULL"


def _list_changes(has_words: bool) -> str:
    texts = ("question", "answer", *(_COLUMNS if has_words else ()))
    return f"owner, {', '.join(texts)}, state, superseded_by"


def _values(row: str, has_words: bool) -> str:
    texts = [_indexed_text(row, column, has_words) for column in ("question", "answer")]
    return f"{row}.number, 'o' || hex({row}.owner) || '0', {', '.join(texts)}"


def _indexed_text(row: str, column: str, has_words: bool) -> str:
    text = f"substr({row}.{column}, 1, {_CHARS})"
    return f"coalesce({row}.{column}_words, {text})" if has_words else text


def _sqlite(has_words: bool) -> list[str]:
    added, removed = _added(has_words), _removed(has_words)
    return [
        f"""
        CREATE VIEW searchable_runs (number, owner, question, answer)
        AS SELECT {_values("runs", has_words)} FROM runs WHERE {_IS_SEARCHABLE.format(row="runs")}
        """,
        f"""
        CREATE TRIGGER search_new_runs AFTER INSERT ON runs
        WHEN {_IS_SEARCHABLE.format(row="new")} BEGIN {added} END
        """,
        f"""
        CREATE TRIGGER search_changed_runs
        AFTER UPDATE OF {_list_changes(has_words)} ON runs
        WHEN ({_IS_SEARCHABLE.format(row="new")}) OR ({_IS_SEARCHABLE.format(row="old")})
        BEGIN {removed} {added} END
        """,
        f"""
        CREATE TRIGGER search_gone_runs AFTER DELETE ON runs
        WHEN {_IS_SEARCHABLE.format(row="old")} BEGIN {removed} END
        """,
    ]


def _added(has_words: bool) -> str:
    return " ".join(
        f"""
        INSERT INTO {index} (rowid, owner, question, answer)
        SELECT {_values("new", has_words)} WHERE {_IS_SEARCHABLE.format(row="new")};
        """
        for index in _SQLITE_INDEXES
    )


def _removed(has_words: bool) -> str:
    return " ".join(
        f"""
        INSERT INTO {index} ({index}, rowid, owner, question, answer)
        SELECT 'delete', {_values("old", has_words)} WHERE {_IS_SEARCHABLE.format(row="old")};
        """
        for index in _SQLITE_INDEXES
    )


# --- PostgreSQL ---

_CONFIGS = {"run_stems": "search_en", "run_words": "pg_catalog.simple"}


def _postgresql(has_words: bool) -> list[str]:
    inserts = " ".join(
        f"INSERT INTO {index} VALUES (run.number, keys, search_vector('{config}', asked, said));"
        for index, config in _CONFIGS.items()
    )
    return [
        f"""
        CREATE OR REPLACE FUNCTION index_run(run runs) RETURNS void LANGUAGE plpgsql AS $$
        DECLARE
            asked text := search_text({_indexed_text("run", "question", has_words)});
            said text := search_text({_indexed_text("run", "answer", has_words)});
            keys text[] := ARRAY['o' || run.owner, (run.number >> 12) || ' ' || run.owner];
        BEGIN {inserts} END $$
        """,
        f"""
        CREATE TRIGGER search_changed_runs
        AFTER UPDATE OF {_list_changes(has_words)} ON runs
        FOR EACH ROW EXECUTE FUNCTION search_runs()
        """,
    ]
