# ruff: noqa: S608  # statements composed of constants of this file
"""The API key of a run, and sums of usage, filled from the runs that have ended before."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"

_KEY = ("level", "owner", "period", "key_id", "ensemble", "agent", "model", "writer")
_TOKENS = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens")
_SUMS = ("runs", "calls", *_TOKENS, "cost_nano", "wasted_nano", "unpriced")


def upgrade() -> None:
    op.add_column("runs", sa.Column("key_id", sa.Text))
    op.create_table(
        "usage_sums",
        *(sa.Column(name, sa.Text, nullable=False) for name in _KEY),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in _SUMS),
        sa.PrimaryKeyConstraint(*_KEY, name="pk_usage_sums"),
    )
    op.create_index("ix_usage_sums_period", "usage_sums", ["level", "period"])
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    for statement in (*_fill(is_postgresql), *(_POLICIES if is_postgresql else ())):
        op.get_bind().exec_driver_sql(statement)  # a colon is no parameter here


def downgrade() -> None:
    op.drop_table("usage_sums")
    op.drop_column("runs", "key_id")


_POLICIES = (
    "ALTER TABLE usage_sums ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE usage_sums FORCE ROW LEVEL SECURITY",
    """
    CREATE POLICY rows_of_owner ON usage_sums
    USING (owner = (SELECT current_setting('app.owner', true)))
    """,
    """
    CREATE POLICY rows_of_all_owners ON usage_sums
    USING ((SELECT current_setting('app.all_owners', true)) = 'on')
    """,
)


def _fill(is_postgresql: bool) -> tuple[str, ...]:
    if is_postgresql:
        day = "to_char(runs.ended_at AT TIME ZONE 'UTC', 'YYYY-MM-DD')"
        report = "convert_from(report, 'UTF8')::jsonb"
        usage = f"COALESCE((({report}) -> 'usage' ->> '{{}}')::bigint, 0)"
        model = f"({report}) ->> 'model'"
        reused = f"COALESCE((({report}) ->> 'reused')::boolean, false)"
        cost = f"(({report}) ->> 'cost')::float8"
    else:
        day = "substr(runs.ended_at, 1, 10)"
        report = "CAST(report AS TEXT)"
        usage = f"COALESCE(json_extract({report}, '$.usage.{{}}'), 0)"
        model = f"json_extract({report}, '$.model')"
        reused = f"COALESCE(json_extract({report}, '$.reused'), 0)"
        cost = f"json_extract({report}, '$.cost')"
    tokens = ", ".join(f"SUM({usage.format(name)})" for name in _TOKENS)
    nano = f"CAST(ROUND(COALESCE({cost}, 0) * 1000000000) AS BIGINT)"
    run_nano = "CAST(ROUND(COALESCE(runs.cost_usd, 0) * 1000000000) AS BIGINT)"
    agents = f"""
        INSERT INTO usage_sums
        SELECT 'day', runs.owner, {day}, '', runs.ensemble, agent, {model}, '',
            0, COUNT(*), {tokens}, SUM({nano}),
            SUM(CASE WHEN runs.state <> 'completed' OR agent_answers.state <> 'answered'
                THEN {nano} ELSE 0 END),
            SUM(CASE WHEN {cost} IS NULL THEN 1 ELSE 0 END)
        FROM agent_answers JOIN runs ON runs.id = agent_answers.run_id
        WHERE runs.state <> 'running' AND runs.ended_at IS NOT NULL AND NOT {reused}
        GROUP BY runs.owner, {day}, runs.ensemble, agent, {model}
    """
    greatest = "GREATEST" if is_postgresql else "MAX"
    return agents, _fill_runs(day, run_nano, greatest), _FILL_MONTHS, _FILL_ALL_OWNERS


def _fill_runs(day: str, nano: str, greatest: str) -> str:
    """Return the statement that adds the runs, with what their agents did not report."""
    names = (*_TOKENS, "cost_nano")
    rest = ", ".join(f"{greatest}(0, SUM({name}))" for name in names)
    of_runs = ", ".join(f"runs.{name}" for name in _TOKENS)
    of_agents = ", ".join(f"-{name}" for name in names)
    return f"""
        INSERT INTO usage_sums
        SELECT 'day', owner, period, '', ensemble, '', '', '', SUM(runs), 0, {rest}, 0, 0
        FROM (
            SELECT runs.owner AS owner, {day} AS period, runs.ensemble AS ensemble, 1 AS runs,
                {of_runs}, {nano} AS cost_nano
            FROM runs WHERE runs.state <> 'running' AND runs.ended_at IS NOT NULL
            UNION ALL
            SELECT owner, period, ensemble, 0, {of_agents} FROM usage_sums
        ) AS ended
        GROUP BY owner, period, ensemble
    """


_ADDED = ", ".join(f"SUM({name})" for name in _SUMS)
_FILL_MONTHS = f"""
    INSERT INTO usage_sums
    SELECT 'month', owner, substr(period, 1, 7), key_id, ensemble, agent, model, writer, {_ADDED}
    FROM usage_sums
    GROUP BY owner, substr(period, 1, 7), key_id, ensemble, agent, model, writer
"""
_FILL_ALL_OWNERS = f"""
    INSERT INTO usage_sums
    SELECT level, '*', period, '', ensemble, agent, model, writer, {_ADDED}
    FROM usage_sums
    GROUP BY level, period, ensemble, agent, model, writer
"""
