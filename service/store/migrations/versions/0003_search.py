# ruff: noqa: S608  # statements composed of constants of this file
"""Creates the search index over questions and answers, which triggers maintain.

It contains runs that have ended and are not superseded, so each run is indexed once. Words are
sequences of letters and digits, in lower case, Latin letters without accents; one index has the
words themselves, one their English stems; both include stop words. Only the first 50,000
characters of each question and answer are indexed: PostgreSQL numbers word positions for phrase
search up to 16,383 and accepts at most 1 MB of words.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_CHARS = 50_000


def upgrade() -> None:
    bind = op.get_bind()
    made = _postgresql(_collation(bind)) if bind.dialect.name == "postgresql" else _sqlite()
    for statement in made:
        # Without parameter parsing, since a colon is no parameter here.
        bind.exec_driver_sql(statement)


def downgrade() -> None:
    dropped = _POSTGRESQL_DROPS if op.get_bind().dialect.name == "postgresql" else _SQLITE_DROPS
    for what in dropped:
        op.execute(f"DROP {what}")


# --- SQLite ---

_INDEXES = {
    "run_stems": "porter unicode61 remove_diacritics 2",
    "run_words": "unicode61 remove_diacritics 2",
}
_IS_SEARCHABLE = "{row}.state <> 'running' AND {row}.superseded_by IS NULL"
# The owner as one word that stemmers leave unchanged.
_VALUES = (
    "{row}.number, 'o' || hex({row}.owner) || '0', "
    f"substr({{row}}.question, 1, {_CHARS}), substr({{row}}.answer, 1, {_CHARS})"
)
_SQLITE_DROPS = (
    "TRIGGER search_new_runs",
    "TRIGGER search_changed_runs",
    "TRIGGER search_gone_runs",
    *(f"TABLE {index}" for index in _INDEXES),
    "VIEW searchable_runs",
)


def _sqlite() -> list[str]:
    searchable, values = _IS_SEARCHABLE.format(row="runs"), _VALUES.format(row="runs")
    view = f"""
        CREATE VIEW searchable_runs (number, owner, question, answer)
        AS SELECT {values} FROM runs WHERE {searchable}
    """
    tables = [
        f"""
        CREATE VIRTUAL TABLE {index} USING fts5(
            owner, question, answer,
            content='searchable_runs', content_rowid='number', tokenize='{tokenizer}'
        )
        """
        for index, tokenizer in _INDEXES.items()
    ]
    filled = [f"INSERT INTO {index} ({index}) VALUES ('rebuild')" for index in _INDEXES]
    return [view, *tables, *_sqlite_triggers(), *filled]


def _sqlite_triggers() -> list[str]:
    return [
        f"""
        CREATE TRIGGER search_new_runs AFTER INSERT ON runs
        WHEN {_IS_SEARCHABLE.format(row="new")} BEGIN {_added()} END
        """,
        f"""
        CREATE TRIGGER search_changed_runs
        AFTER UPDATE OF owner, question, answer, state, superseded_by ON runs
        WHEN ({_IS_SEARCHABLE.format(row="new")}) OR ({_IS_SEARCHABLE.format(row="old")})
        BEGIN {_removed()} {_added()} END
        """,
        f"""
        CREATE TRIGGER search_gone_runs AFTER DELETE ON runs
        WHEN {_IS_SEARCHABLE.format(row="old")} BEGIN {_removed()} END
        """,
    ]


def _added() -> str:
    return " ".join(
        f"""
        INSERT INTO {index} (rowid, owner, question, answer)
        SELECT {_VALUES.format(row="new")} WHERE {_IS_SEARCHABLE.format(row="new")};
        """
        for index in _INDEXES
    )


def _removed() -> str:
    return " ".join(
        f"""
        INSERT INTO {index} ({index}, rowid, owner, question, answer)
        SELECT 'delete', {_VALUES.format(row="old")} WHERE {_IS_SEARCHABLE.format(row="old")};
        """
        for index in _INDEXES
    )


# --- PostgreSQL ---

_CONFIGS = {"run_stems": "search_en", "run_words": "pg_catalog.simple"}
_POSTGRESQL_DROPS = (
    "FUNCTION search_runs() CASCADE",
    "FUNCTION index_run(runs)",
    "FUNCTION search_vector(regconfig, text, text)",
    "TEXT SEARCH CONFIGURATION search_en",
    "TEXT SEARCH DICTIONARY search_stems",
    "FUNCTION search_text(text)",
    *(f"TABLE {index}" for index in _CONFIGS),
)


def _collation(bind: sa.Connection) -> str:
    """Return a collation that classifies letters: the database's own, unless that is C."""
    own = bind.scalar(
        sa.text("SELECT datctype FROM pg_database WHERE datname = current_database()")
    )
    if own not in ("C", "POSIX"):
        return "default"
    known = set(bind.scalars(sa.text("SELECT collname FROM pg_collation")))
    fits = [name for name in ("und-x-icu", "C.utf8", "C.UTF-8", "en_US.utf8") if name in known]
    return [*fits, "default"][0]


def _postgresql(collation: str) -> list[str]:
    letters = f'COLLATE "{collation}"'
    return [
        # Decomposes letters, removes the accents of Latin ones, and composes the rest again. The
        # branch for ASCII, which most text is, takes a quarter of the time.
        f"""
        CREATE FUNCTION search_text(raw text) RETURNS text
        LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
            SELECT CASE
                WHEN octet_length(raw) = char_length(raw)
                THEN regexp_replace(lower(raw), '[^a-z0-9]+', ' ', 'g')
                ELSE regexp_replace(
                    normalize(
                        regexp_replace(
                            normalize(lower(raw {letters}), NFD),
                            '([a-z])[\\u0300-\\u036f]+', '\\1', 'g'
                        ),
                        NFC
                    ) {letters},
                    '[^[:alnum:]]+', ' ', 'g'
                )
            END
        $$
        """,
        """
        CREATE TEXT SEARCH DICTIONARY search_stems (
            TEMPLATE = pg_catalog.snowball, LANGUAGE = english
        )
        """,
        "CREATE TEXT SEARCH CONFIGURATION search_en (COPY = pg_catalog.simple)",
        """
        ALTER TEXT SEARCH CONFIGURATION search_en
        ALTER MAPPING FOR asciiword, word WITH search_stems
        """,
        # A word is inserted before the answer and removed again, so that no phrase spans the end of
        # the question and the start of the answer.
        """
        CREATE FUNCTION search_vector(config regconfig, question text, answer text)
        RETURNS tsvector LANGUAGE sql STABLE PARALLEL SAFE AS $$
            SELECT setweight(to_tsvector(config, question), 'A') || setweight(
                ts_delete(to_tsvector(config, 'x0gap ' || answer), 'x0gap'), 'B'
            )
        $$
        """,
        *(_postgresql_index(index) for index in _CONFIGS),
        f"""
        CREATE FUNCTION index_run(run runs) RETURNS void LANGUAGE plpgsql AS $$
        DECLARE
            question text := search_text(left(run.question, {_CHARS}));
            answer text := search_text(left(run.answer, {_CHARS}));
            keys text[] := ARRAY['o' || run.owner, (run.number >> 12) || ' ' || run.owner];
        BEGIN
            {
            _each(
                "INSERT INTO {index} VALUES "
                "(run.number, keys, search_vector('{config}', question, answer));"
            )
        }
        END $$
        """,
        f"""
        CREATE FUNCTION search_runs() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP <> 'INSERT' THEN
                {_each("DELETE FROM {index} WHERE number = OLD.number;")}
            END IF;
            IF TG_OP <> 'DELETE' AND {_IS_SEARCHABLE.format(row="NEW")} THEN
                PERFORM index_run(NEW);
            END IF;
            RETURN NULL;
        END $$
        """,
        """
        CREATE TRIGGER search_new_runs AFTER INSERT ON runs
        FOR EACH ROW WHEN (NEW.state <> 'running')
        EXECUTE FUNCTION search_runs()
        """,
        """
        CREATE TRIGGER search_changed_runs
        AFTER UPDATE OF owner, question, answer, state, superseded_by ON runs
        FOR EACH ROW EXECUTE FUNCTION search_runs()
        """,
        """
        CREATE TRIGGER search_gone_runs AFTER DELETE ON runs
        FOR EACH ROW WHEN (OLD.state <> 'running')
        EXECUTE FUNCTION search_runs()
        """,
        f"SELECT index_run(runs) FROM runs WHERE {_IS_SEARCHABLE.format(row='runs')}",
        *(f"CREATE INDEX ix_{index} ON {index} USING gin (keys, vector)" for index in _CONFIGS),
    ]


def _postgresql_index(index: str) -> str:
    # `keys` limit a search within the index: to the owner, and to a block of 4,096 runs.
    # Vectors of usual texts stay in their rows, so ranking one reads one page.
    return f"""
        CREATE TABLE {index} (
            number bigint PRIMARY KEY,
            keys text[] NOT NULL,
            vector tsvector NOT NULL
        ) WITH (toast_tuple_target = 4096)
    """


def _each(statement: str) -> str:
    return " ".join(
        statement.format(index=index, config=config) for index, config in _CONFIGS.items()
    )
