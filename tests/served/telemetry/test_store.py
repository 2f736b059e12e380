"""Logs and metrics of the store: the lag of the journal, failures and their reasons."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests._support.clients.api import Api, asking, client_of, until
from tests._support.recovery import database_faults
from tests._support.servers.services import Start
from tests._support.telemetry.metrics_page import Page, read_metrics

OLDEST = "journal_oldest_pending_seconds"


@dataclass
class Watched:
    """A service, and the file that it keeps everything in."""

    api: Api
    database: Path

    async def page(self) -> Page:
        return await read_metrics(self.api)

    async def seen(self, name: str, at_least: float, **labels: str) -> None:
        """Wait until a figure has grown to `at_least`."""

        async def is_seen() -> bool:
            return (await self.page())(name, **labels) >= at_least

        await until(is_seen)


@pytest.fixture
async def watched(start: Start, tmp_path: Path) -> AsyncIterator[Watched]:
    database = tmp_path / "kept.db"
    process = start(DATABASE_URL=f"sqlite:///{database}", STORE_TIMEOUT_S="0.5")
    async with client_of(process.url) as api:
        yield Watched(api, database)


async def test_a_run_is_counted_from_its_start_to_its_end(watched: Watched) -> None:
    run_id = (await watched.api.ask())[0].run_id
    await watched.api.shown(run_id)
    page = await watched.page()
    duration = "db_client_operation_duration_seconds_count"
    for operation in ("open_run", "end_run"):
        assert page(duration, operation=operation, system="sqlite", error_type="") == 1
    commits = page(duration, operation="commit")
    assert commits >= 2
    assert 1 <= page("journal_lag_seconds_count") <= commits
    assert page("journal_failures_total") == page("store_rejections_total") == 0


async def test_metrics_show_an_outage_of_the_store_and_its_recovery(watched: Watched) -> None:
    async with watched.api.asked(ensemble="endless"):
        with database_faults.locked(watched.database):
            await watched.seen(OLDEST, 0.5)
            await watched.seen("journal_pending_events", 1)
            await watched.seen("journal_failures_total", 1, reason="locked")
            refused = await watched.api.http.post("/api/process", json=asking())
            assert refused.status_code == 503
            await watched.seen("store_rejections_total", 1, reason="locked")

        async def has_caught_up() -> bool:
            return (await watched.page())(OLDEST) == 0

        await until(has_caught_up)
    page = await watched.page()
    assert page("journal_pending_events") == 0
    assert page("db_client_operation_duration_seconds_count", error_type="locked") >= 1
