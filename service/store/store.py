"""The parts of the store, made together."""

from __future__ import annotations

from dataclasses import dataclass

from service.settings import Settings
from service.store.conversations import Conversations
from service.store.database import Database
from service.store.history import History
from service.store.journal.writer import JournalWriter
from service.store.runs import RunStore
from service.store.search.search import Search
from service.store.workers import Workers
from telemetry import Telemetry


@dataclass(frozen=True, slots=True)
class Store:
    """All that is kept, part by part."""

    database: Database
    journal: JournalWriter
    runs: RunStore
    workers: Workers
    conversations: Conversations
    history: History
    search: Search

    async def close(self) -> None:
        await self.database.close()


def open_store(settings: Settings, telemetry: Telemetry) -> Store:
    """Return the store of the configured database, which is not connected to before it is used.

    Raises SettingsError when the address cannot be read.
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
    )
