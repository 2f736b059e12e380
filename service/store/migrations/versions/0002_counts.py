# ruff: noqa: S608  # statements composed of constants of this file
"""Creates the counts of runs and conversations for each owner, which triggers maintain.

They give the `total` of a page without counting rows. Superseded runs do not count, since lists
omit them.
"""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"

_BACKFILL = """
    INSERT INTO counts (owner, runs, conversations)
    SELECT owner, sum(runs), sum(conversations)
    FROM (
        SELECT owner, count(*) AS runs, 0 AS conversations
        FROM runs WHERE superseded_by IS NULL GROUP BY owner
        UNION ALL
        SELECT owner, 0, count(*) FROM conversations GROUP BY owner
    ) AS counted
    GROUP BY owner
"""


def upgrade() -> None:
    made = _POSTGRESQL if op.get_bind().dialect.name == "postgresql" else _sqlite()
    for statement in (*made, _BACKFILL):
        op.execute(statement)


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        for function in _FUNCTIONS:
            op.execute(f"DROP FUNCTION {function} CASCADE")
    else:
        for name, *_ in _TRIGGERS:
            op.execute(f"DROP TRIGGER {name}")
    op.execute("DROP TABLE counts")


# --- SQLite: one row for each owner, since there is only one writer ---

_LISTED = "WHEN {row}.superseded_by IS NULL"
_TRIGGERS = (  # name, event, condition, row, change
    ("count_new_runs", "INSERT ON runs", _LISTED, "new", "runs = runs + 1"),
    ("count_gone_runs", "DELETE ON runs", _LISTED, "old", "runs = runs - 1"),
    (
        "count_superseded_runs",
        "UPDATE OF superseded_by ON runs",
        "",
        "new",
        "runs = runs + (new.superseded_by IS NULL) - (old.superseded_by IS NULL)",
    ),
    (
        "count_new_conversations",
        "INSERT ON conversations",
        "",
        "new",
        "conversations = conversations + 1",
    ),
    (
        "count_gone_conversations",
        "DELETE ON conversations",
        "",
        "old",
        "conversations = conversations - 1",
    ),
)


def _sqlite() -> list[str]:
    table = """
        CREATE TABLE counts (
            owner TEXT NOT NULL PRIMARY KEY,
            runs INTEGER NOT NULL,
            conversations INTEGER NOT NULL
        )
    """
    return [table, *(_trigger(*trigger) for trigger in _TRIGGERS)]


def _trigger(name: str, event: str, condition: str, row: str, change: str) -> str:
    # No upsert: in a trigger the conflict clause of the outer statement would override its own.
    return f"""
        CREATE TRIGGER {name} AFTER {event} {condition.format(row=row)} BEGIN
            INSERT INTO counts SELECT {row}.owner, 0, 0
            WHERE NOT EXISTS (SELECT 1 FROM counts WHERE owner = {row}.owner);
            UPDATE counts SET {change} WHERE owner = {row}.owner;
        END
    """


# --- PostgreSQL: several rows for each owner; the sum is the count ---

_FUNCTIONS = (
    "count_runs()",
    "count_superseded_runs()",
    "count_conversations()",
    "fold_counts(text)",
)
_FOLDED = 0.02  # the share of changes that fold; about fifty rows are left to add up

# With one row for each owner, all writers of an owner would wait for each other, and could deadlock
# because of their other locks. So each writer adds a row, and some fold the rows that no other
# transaction has locked into one.
_POSTGRESQL = (
    """
    CREATE TABLE counts (
        owner text NOT NULL,
        runs bigint NOT NULL,
        conversations bigint NOT NULL
    )
    """,
    "CREATE INDEX ix_counts_owner ON counts (owner)",
    """
    CREATE FUNCTION fold_counts(whose text) RETURNS void LANGUAGE sql AS $$
        WITH gone AS (
            DELETE FROM counts WHERE ctid = ANY (ARRAY(
                SELECT ctid FROM counts WHERE owner = whose FOR UPDATE SKIP LOCKED
            ))
            RETURNING *
        )
        INSERT INTO counts SELECT whose, sum(runs), sum(conversations) FROM gone HAVING count(*) > 0
    $$
    """,
    f"""
    CREATE FUNCTION count_runs() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO counts SELECT owner, count(*) * TG_ARGV[0]::int, 0
        FROM changed WHERE superseded_by IS NULL GROUP BY owner;
        PERFORM fold_counts(owner) FROM changed WHERE random() < {_FOLDED} GROUP BY owner;
        RETURN NULL;
    END $$
    """,
    f"""
    CREATE FUNCTION count_conversations() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO counts SELECT owner, 0, count(*) * TG_ARGV[0]::int
        FROM changed GROUP BY owner;
        PERFORM fold_counts(owner) FROM changed WHERE random() < {_FOLDED} GROUP BY owner;
        RETURN NULL;
    END $$
    """,
    """
    CREATE FUNCTION count_superseded_runs() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO counts
        VALUES (NEW.owner, CASE WHEN NEW.superseded_by IS NULL THEN 1 ELSE -1 END, 0);
        RETURN NULL;
    END $$
    """,
    *(
        f"""
        CREATE TRIGGER count_{kind}_{table} AFTER {event} ON {table}
        REFERENCING {which} TABLE AS changed
        FOR EACH STATEMENT EXECUTE FUNCTION count_{table}('{sign}')
        """
        for table in ("runs", "conversations")
        for kind, event, which, sign in (("new", "INSERT", "NEW", 1), ("gone", "DELETE", "OLD", -1))
    ),
    """
    CREATE TRIGGER count_superseded_runs AFTER UPDATE OF superseded_by ON runs
    FOR EACH ROW
    WHEN ((OLD.superseded_by IS NULL) IS DISTINCT FROM (NEW.superseded_by IS NULL))
    EXECUTE FUNCTION count_superseded_runs()
    """,
)
