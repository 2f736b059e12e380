"""Reads ended runs with the results of their agents, in parts of bounded size."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import partial
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy import ColumnElement, Row, Select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from service.store.agents.records import (
    AgentOutcome,
    CallReport,
    EnsembleConfig,
    RunFilter,
    RunFindings,
    RunOutcome,
)
from service.store.database import Database
from service.store.feedback.records import Rating
from service.store.feedback.tables import feedback
from service.store.lists.long_texts import measure, split
from service.store.schema import agent_answers, configs, runs
from service.store.scope import ALL_OWNERS, Access, Scope

_PAGE_RUNS = 1_000
_LISTED = (runs.c.id, runs.c.ensemble, runs.c.config_hash, runs.c.state, runs.c.superseded_by)
_COLUMNS = (*_LISTED, runs.c.answered_by, runs.c.cost_usd)
_RATING = tuple(field.name for field in fields(Rating))


class AgentRunReader:
    """Reads the runs of a filter from the oldest to the newest, each once.

    Every transaction is short, so that a service can work meanwhile. The texts of agents, which may
    have megabytes each, remain in the database.
    """

    def __init__(self, database: Database, wanted: RunFilter) -> None:
        self._database = database
        self._wanted = wanted
        self._last_id = _make_lower_bound(wanted)
        self._parts: list[Sequence[Row[Any]]] = []
        self._configs: dict[str, EnsembleConfig] = {}

    async def read_part(self) -> Sequence[RunOutcome]:
        """Return the next runs, at most 100; an empty sequence at the end.

        Raises StorageUnavailable.
        """
        if not self._parts:
            await self._list_page()
        if not self._parts:
            return ()
        rows = self._parts.pop(0)
        return await self._database.read(partial(self._read, rows), "list", self._access)

    @property
    def _access(self) -> Access:
        return ALL_OWNERS if self._wanted.owner is None else Scope(self._wanted.owner)

    async def _list_page(self) -> None:
        """Read which runs follow, in parts whose findings fit into memory."""

        rows = await self._database.read(self._read_page, "list", self._access)
        if rows:
            self._last_id = rows[-1].id
            by_id = {row.id: row for row in rows}
            parts = split([(row.id, row.size) for row in rows])
            self._parts = [[by_id[run_id] for run_id in part] for part in parts]

    async def _read_page(self, connection: AsyncConnection) -> Sequence[Row[Any]]:
        size = measure(connection, runs.c.findings).label("size")
        found: Sequence[Row[Any]] = (await connection.execute(self._select_page(size))).all()
        return found

    def _select_page(self, size: ColumnElement[int]) -> Select[Any]:
        wanted = self._wanted
        statement = (
            sa.select(*_COLUMNS, size)
            .where(runs.c.id > self._last_id, runs.c.state != "running")
            .order_by(runs.c.id)
            .limit(_PAGE_RUNS)
        )
        if wanted.ensemble is not None:
            statement = statement.where(runs.c.ensemble == wanted.ensemble)
        return statement if wanted.owner is None else statement.where(runs.c.owner == wanted.owner)

    async def _read(
        self, rows: Sequence[Row[Any]], connection: AsyncConnection
    ) -> Sequence[RunOutcome]:
        ids = [row.id for row in rows]
        await self._read_configs({row.config_hash for row in rows}, connection)
        found = await connection.execute(
            sa.select(runs.c.id, runs.c.findings).where(runs.c.id.in_(ids))
        )
        findings = {row.id: row.findings for row in found}
        agents, ratings = await _read_agents(ids, connection), await _read_ratings(ids, connection)
        return [
            RunOutcome(
                run_id=row.id,
                ensemble=row.ensemble,
                config=self._configs.get(row.config_hash, EnsembleConfig()),
                state=row.state,
                is_replaced=row.superseded_by is not None,
                answered_by=row.answered_by,
                cost_usd=row.cost_usd,
                findings=_decode_findings(findings.get(row.id)),
                agents=agents.get(row.id, ()),
                ratings=ratings.get(row.id, ()),
            )
            for row in rows
        ]

    async def _read_configs(self, hashes: set[str], connection: AsyncConnection) -> None:
        unknown = hashes - self._configs.keys()
        if unknown:
            statement = sa.select(configs.c.hash, configs.c.content)
            for row in await connection.execute(statement.where(configs.c.hash.in_(unknown))):
                self._configs[row.hash] = _decode(row.content, EnsembleConfig)


def _make_lower_bound(wanted: RunFilter) -> str:
    """Return an id before those of all runs since the given time: ids start with it."""
    return f"run_{max(0, int(wanted.since.timestamp() * 1000)):012x}"


def _decode_findings(column: str | None) -> RunFindings:
    return _decode(column, RunFindings) if column else RunFindings()


def _decode(column: str | bytes, kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(column, type=kind, strict=False)
    except msgspec.ValidationError:  # written by another version
        return kind()


def _select_report(connection: AsyncConnection) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    """Return a report's JSON without the text, and whether there is a text."""
    column: ColumnElement[Any] = agent_answers.c.report
    if connection.dialect.name == "postgresql":
        report = sa.cast(sa.func.convert_from(column, "UTF8"), JSONB)
        short = sa.cast(report.op("-")(sa.literal("text", sa.Text)), sa.Text)
        return short, sa.func.coalesce(report.op("->>")(sa.literal("text", sa.Text)), "") != ""
    report_text = sa.cast(column, sa.Text)
    shortened = sa.func.json_remove(report_text, "$.text")
    return shortened, sa.func.coalesce(sa.func.json_extract(report_text, "$.text"), "") != ""


async def _read_agents(
    ids: Sequence[str], connection: AsyncConnection
) -> Mapping[str, Sequence[AgentOutcome]]:
    short, has_text = _select_report(connection)
    answers = agent_answers.c
    statement = sa.select(
        answers.run_id, answers.agent, answers.state, answers.code,
        short.label("report"), has_text.label("has_text"),
    ).where(answers.run_id.in_(ids))  # fmt: skip
    found: dict[str, list[AgentOutcome]] = defaultdict(list)
    for row in await connection.execute(statement):
        report = _decode(row.report, CallReport)
        outcome = AgentOutcome(row.agent, row.state, row.code, report, bool(row.has_text))
        found[row.run_id].append(outcome)
    return found


async def _read_ratings(
    ids: Sequence[str], connection: AsyncConnection
) -> Mapping[str, Sequence[Rating]]:
    columns = (feedback.c[name] for name in _RATING if name != "comment")
    statement = sa.select(feedback.c.run_id, *columns).where(feedback.c.run_id.in_(ids))
    found: dict[str, list[Rating]] = defaultdict(list)
    for row in (await connection.execute(statement)).mappings():
        values = {name: each for name, each in row.items() if name != "run_id"}
        found[row["run_id"]].append(Rating(**values))
    return found
