"""Row-level security of PostgreSQL, the second barrier behind the owner in every statement.

A transaction sees the rows of the owner in `app.owner`, or all of them if `app.all_owners` is "on"
(see `service/store/connections/row_security.py`), also as the owner of the tables. PostgreSQL
never applies policies to superusers and to roles with BYPASSRLS. The tables of the search index
have none: `&&` and `@@` are not leakproof, so that with a policy the index could not be used. They
hold numbers of runs; the rows are read from `runs`, which has a policy. SQLite has no policies.
"""

from __future__ import annotations

from alembic import op

revision = "0013"
down_revision = "0012"

_TABLES = (
    "conversations", "messages", "runs", "agent_answers", "segments", "idempotency_keys",
    "signals", "counts",
)  # fmt: skip
# In sub-queries, so that they are evaluated once and not for each row.
_OWNER = "owner = (SELECT current_setting('app.owner', true))"
_ALL_OWNERS = "(SELECT current_setting('app.all_owners', true)) = 'on'"


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        for table in _TABLES:
            op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
            op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
            op.execute(f"CREATE POLICY rows_of_owner ON {table} USING ({_OWNER})")
            op.execute(f"CREATE POLICY rows_of_all_owners ON {table} USING ({_ALL_OWNERS})")


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        for table in _TABLES:
            op.execute(f"DROP POLICY rows_of_owner ON {table}")
            op.execute(f"DROP POLICY rows_of_all_owners ON {table}")
            op.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
            op.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
