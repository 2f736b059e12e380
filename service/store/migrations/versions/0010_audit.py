"""The audit log: triggers refuse every change of its rows, and a head that goes back."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

_TEXTS = ("actor", "action", "target", "address", "request_id", "details", "previous_hash", "hash")
_REFUSAL = "the audit log is append-only"


def upgrade() -> None:
    op.create_table(
        "audit",
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in _TEXTS),
        sa.PrimaryKeyConstraint("number", name="pk_audit"),
    )
    op.create_index("ix_audit_time", "audit", ["at", "number"])
    op.create_index("ix_audit_actor", "audit", ["actor", "number"])
    op.create_index("ix_audit_action", "audit", ["action", "number"])
    op.create_table(
        "audit_head",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit_head"),
    )
    op.execute(f"INSERT INTO audit_head (id, number, hash) VALUES (1, 0, '{'0' * 64}')")  # noqa: S608
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    for statement in _POSTGRESQL if is_postgresql else _SQLITE:
        op.execute(statement)


def downgrade() -> None:
    op.drop_table("audit_head")
    op.drop_table("audit")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION refuse_audit_change()")


_SQLITE = (
    *(
        f"""
        CREATE TRIGGER audit_refuses_{event.lower()} BEFORE {event} ON audit BEGIN
            SELECT RAISE(ABORT, '{_REFUSAL}');
        END
        """
        for event in ("UPDATE", "DELETE")
    ),
    f"""
    CREATE TRIGGER audit_head_refuses_delete BEFORE DELETE ON audit_head BEGIN
        SELECT RAISE(ABORT, '{_REFUSAL}');
    END
    """,
    f"""
    CREATE TRIGGER audit_head_refuses_return BEFORE UPDATE ON audit_head
    WHEN new.number <= old.number BEGIN
        SELECT RAISE(ABORT, '{_REFUSAL}');
    END
    """,
)

_POSTGRESQL = (
    f"""
    CREATE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION '{_REFUSAL}';
    END $$
    """,
    """
    CREATE TRIGGER audit_refuses_changes BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change()
    """,
    """
    CREATE TRIGGER audit_head_refuses_delete BEFORE DELETE OR TRUNCATE ON audit_head
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change()
    """,
    """
    CREATE TRIGGER audit_head_refuses_return BEFORE UPDATE ON audit_head
    FOR EACH ROW WHEN (NEW.number <= OLD.number)
    EXECUTE FUNCTION refuse_audit_change()
    """,
)
