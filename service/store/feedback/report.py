"""Sums of feedback by the dimensions of usage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Select, Subquery

from service.store.connections.urls import Dialect
from service.store.database import Database
from service.store.feedback.records import FeedbackSums
from service.store.feedback.tables import feedback
from service.store.schema import runs
from service.store.scope import ALL_OWNERS, Scope
from service.store.usage.report import UsageQuery

_THUMB_SCORE = sa.case((feedback.c.thumb == "up", 1.0), (feedback.c.thumb == "down", 0.0))
_SCORE = sa.func.coalesce(feedback.c.score, _THUMB_SCORE)


class FeedbackReport:
    """The feedback about the runs that usage counts. Its methods raise StorageUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list_sums(self, query: UsageQuery) -> Mapping[tuple[str, ...], FeedbackSums]:
        """Return the sums of each group, by its values of the dimensions of the query.

        Grouped by agent or model, they are those of ratings of agents, and in the group "" of
        ratings of answers; otherwise only ratings of answers count. A rating counts for the day on
        which its run ended.
        """
        statement = _select_groups(query, self._database.dialect)
        access = ALL_OWNERS if query.owner is None else Scope(query.owner)
        rows = await self._database.fetch_all(statement, "read_usage", access)
        size = len(query.by)
        return {
            tuple(str(value) for value in row[:size]): FeedbackSums(
                int(row.ratings), float(row.score), int(row.preferred)
            )
            for row in rows
        }


def _select_groups(query: UsageQuery, dialect: Dialect) -> Select[Any]:
    opinions = _select_opinions(is_of_agents=bool({"agent", "model"} & set(query.by)))
    ended_at: ColumnElement[Any] = runs.c.ended_at
    day = (
        sa.func.to_char(sa.func.timezone("UTC", ended_at), "YYYY-MM-DD")
        if dialect == "postgresql"
        else sa.func.date(ended_at)
    )
    columns: Mapping[str, ColumnElement[Any]] = {
        "day": day,
        "agent": opinions.c.agent,
        "model": opinions.c.model,
        "key": sa.func.coalesce(runs.c.key_id, ""),
        "user": runs.c.owner,
        "ensemble": runs.c.ensemble,
    }
    chosen = [columns[name].label(f"by_{name}") for name in query.by]
    sums = (
        sa.func.count(opinions.c.score).label("ratings"),
        sa.func.coalesce(sa.func.sum(opinions.c.score), 0.0).label("score"),
        sa.func.coalesce(sa.func.sum(opinions.c.preferred), 0).label("preferred"),
    )
    joined = opinions.join(runs, runs.c.id == opinions.c.run_id)
    statement = sa.select(*chosen, *sums).select_from(joined).where(*_select_runs(query))
    return statement.group_by(*(sa.literal_column(f"by_{name}") for name in query.by))


def _select_opinions(*, is_of_agents: bool) -> Subquery:
    """Return one row for each rating, and one for each agent that was named as better."""
    rated = sa.select(
        feedback.c.run_id,
        feedback.c.agent,
        feedback.c.model,
        _SCORE.label("score"),
        sa.literal(0).label("preferred"),
    )
    preferred = sa.select(
        feedback.c.run_id,
        feedback.c.better.label("agent"),
        feedback.c.better_model.label("model"),
        sa.cast(sa.null(), sa.Float).label("score"),
        sa.literal(1).label("preferred"),
    ).where(feedback.c.better.is_not(None))
    if not is_of_agents:
        rated = rated.where(feedback.c.agent == "")
        preferred = preferred.where(feedback.c.than.is_(None))
    return sa.union_all(rated, preferred).subquery()


def _select_runs(query: UsageQuery) -> Iterator[ColumnElement[bool]]:
    first = datetime.combine(query.since, time(), UTC)
    yield runs.c.ended_at >= first
    if query.until < date.max:
        yield runs.c.ended_at < datetime.combine(query.until + timedelta(days=1), time(), UTC)
    if query.owner is not None:
        yield runs.c.owner == query.owner
