"""The store of the service: one database and the classes that read and write its tables."""

from __future__ import annotations

from dataclasses import dataclass

from service.settings import Settings
from service.store.audit.log import AuditLog
from service.store.budgets.budgets import Budgets
from service.store.call_history import CallHistory
from service.store.conversations import Conversations
from service.store.database import Database
from service.store.evaluations.cache import EvaluationCache
from service.store.feedback.feedback import FeedbackStore
from service.store.feedback.report import FeedbackReport
from service.store.history import History
from service.store.journal.writer import JournalWriter
from service.store.lists.outlines import Outlines
from service.store.runs import RunStore
from service.store.search.search import Search
from service.store.usage.report import UsageStore
from service.store.workers import Workers
from telemetry import Telemetry


@dataclass(frozen=True, slots=True)
class Store:
    """One object for each kind of access; all share `database`."""

    database: Database
    journal: JournalWriter
    runs: RunStore
    workers: Workers
    conversations: Conversations
    history: History
    search: Search
    budgets: Budgets
    audit: AuditLog
    usage: UsageStore
    feedback: FeedbackStore
    feedback_report: FeedbackReport
    calls: CallHistory
    evaluations: EvaluationCache
    outlines: Outlines

    async def close(self) -> None:
        """Finish pending work and close the connections."""
        await self.database.close()


def open_store(settings: Settings, telemetry: Telemetry) -> Store:
    """Return the store of the configured database; it connects on first use.

    Raises SettingsError when `DATABASE_URL` is invalid.
    """
    database = Database(settings.database, timeout_s=settings.store_timeout_s, telemetry=telemetry)
    return Store(
        database=database,
        journal=JournalWriter(database),
        runs=RunStore(database),
        workers=Workers(database),
        conversations=Conversations(database),
        history=History(database),
        search=Search(database),
        budgets=Budgets(database),
        audit=AuditLog(database),
        usage=UsageStore(database),
        feedback=FeedbackStore(database),
        feedback_report=FeedbackReport(database),
        calls=CallHistory(database),
        evaluations=EvaluationCache(database),
        outlines=Outlines(database),
    )
