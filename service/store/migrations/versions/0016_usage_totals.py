"""Sums of usage over all ensembles, agents and models, filled from the rows of each of them."""

from __future__ import annotations

from alembic import op

revision = "0016"
down_revision = "0015"

_SUMS = (
    "runs", "calls", "input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens",
    "cost_nano", "wasted_nano", "unpriced",
)  # fmt: skip
_KEY = "level, owner, period, key_id, ensemble, agent, model, writer"
_FILL = f"""
    INSERT INTO usage_sums ({_KEY}, {", ".join(_SUMS)})
    SELECT level || '_total', owner, period, key_id, '*', '*', '*', writer,
        {", ".join(f"SUM({name})" for name in _SUMS)}
    FROM usage_sums
    WHERE level IN ('day', 'month')
    GROUP BY level, owner, period, key_id, writer
"""  # noqa: S608  # composed of constants of this file


def upgrade() -> None:
    _see_all_owners()
    op.get_bind().exec_driver_sql(_FILL)


def downgrade() -> None:
    _see_all_owners()
    op.execute("DELETE FROM usage_sums WHERE level IN ('day_total', 'month_total')")


def _see_all_owners() -> None:
    """Lift row-level security, which also applies to the owner of the table, until the commit."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SELECT set_config('app.all_owners', 'on', true)")
