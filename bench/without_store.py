"""The service without a store, to measure the cost of the store as the difference.

Runs as its own process, `python -m bench.without_store`, with the configuration and server of the
service, but without database, journal and spool. A run's ids, log and final summary remain, since
the responses need them.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import uvloop

from service.app import Services, create_app
from service.events import Event
from service.runs.journal.journal import Journal
from service.runs.journal.pending import PendingEvents
from service.runs.log import RunLog
from service.runs.recovery.lease import Lease

# Private, to use the same server as the service.
from service.server.process import _serve, tune_garbage_collector
from service.server.sockets import base_url, listen, raise_open_file_limit
from service.settings import load_settings
from service.store.records import AgentAnswer, KeyConflict, NewRun, RunEnd
from service.store.store import Store
from telemetry import Workflow, configure_logging


class NoTables:
    """All parts of a store in one: reads find nothing, writes store nothing."""

    async def get(self, *_: object) -> None:
        return None

    async def register(self, *_: object) -> bool:
        return True

    def find_file_fault(self) -> None:
        return None

    def __getattr__(self, name: str) -> Any:
        return _nothing


class NoJournal(Journal):
    """A journal that commits nothing and returns at once."""

    async def open(self, opening: NewRun) -> KeyConflict | None:
        return None

    def track(self, run_id: str, owner: str, log: RunLog) -> PendingEvents:
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        return PendingEvents(run_id, owner, log, ended)

    def on_append(self, pending: PendingEvents) -> None:
        pass

    def add_answer(self, answer: AgentAnswer) -> None:
        pass

    async def end(
        self,
        pending: PendingEvents,
        final: Event,
        ending: RunEnd,
        workflow: Workflow,
        lease: Lease,
    ) -> None:
        pending.closed.set_result(None)

    async def run(self) -> None:
        await asyncio.Event().wait()


async def _nothing(*_: object, **__: object) -> Sequence[Any]:
    return ()


def create_services() -> Services:
    """Return the service of the environment's settings, without a store."""
    settings = load_settings(Path(".env")).model_copy(update={"spool_dir": Path(os.devnull)})
    nothing = cast(Any, NoTables())
    store = Store(**dict.fromkeys(Store.__dataclass_fields__, nothing))
    made = create_app(settings, os.environ, store=store)
    # The journal is not configurable, so its class is replaced.
    made.runs.journal.__class__ = NoJournal
    return made


def main() -> None:
    """Serve on a free port until SIGTERM, like `service serve`."""
    configure_logging(level="INFO", json=False)
    raise_open_file_limit()
    made = create_services()
    sock = listen("127.0.0.1", 0)
    print(f"Without a store at {base_url(sock)}", flush=True)
    tune_garbage_collector()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(made, sock, None, lambda: None))


if __name__ == "__main__":
    main()
