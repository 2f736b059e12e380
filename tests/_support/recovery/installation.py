"""An installation that outlives its services: a folder, a database and the models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests._support.llm.ensembles import Table, as_toml
from tests._support.llm.recorder import Recorder
from tests._support.servers.processes import Process
from tests._support.servers.services import UNHURRIED_STORE


def _agent(name: str, options: str, **keys: Any) -> Table:
    return {"model": f"{name}?{options}", "max_tokens": 7000, "retries": 0, **keys}


_AGENTS: Mapping[str, Table] = {
    agent["model"].partition("?")[0]: agent
    for agent in (
        _agent("one", "tokens=8&first_ms=5&gap_ms=2"),
        _agent("two", "tokens=12&first_ms=10&gap_ms=4"),
        _agent("joiner", "tokens=25&first_ms=5&gap_ms=6"),
        _agent("steady", "tokens=100&first_ms=5&gap_ms=10"),
        _agent("long", "tokens=400&first_ms=5&gap_ms=20"),
        _agent("endless", "tokens=6000&first_ms=5&gap_ms=10"),
        _agent("hung", "fault=hang"),
        _agent("caller", "tokens=12&first_ms=5&gap_ms=2&tool_calls=2"),
        _agent("blind", "tokens=12&first_ms=5&gap_ms=2", content_parts=[]),
        _agent("hung-once", "tokens=12&first_ms=5&gap_ms=2&fault=hang&times=1"),
        _agent("failing-once", "tokens=12&first_ms=5&fault=status&status=400&times=1"),
        _agent("failing", "fault=status&status=400"),
        _agent("breaking-once", "tokens=20&first_ms=5&gap_ms=2&fault=reset&after=5&times=3"),
    )
}

# Each is asked for by name; what goes wrong "once" goes well when the same is asked again.
_ENSEMBLES: Mapping[str, Table] = {
    "fanout": {"agents": ["one", "two"], "combiner": "joiner"},
    "steady": {"agents": ["one", "two"], "combiner": "steady"},
    "long": {"agents": ["one", "two"], "combiner": "long"},
    "endless": {"agents": ["one", "two"], "combiner": "endless"},
    "half-blind": {"agents": ["one", "blind"], "combiner": "joiner"},
    "blind": {"agents": ["blind"], "combiner": "joiner"},
    "hanging-once": {"agents": ["one", "hung-once"], "combiner": "joiner"},
    "failing-once": {"agents": ["one", "failing-once"], "combiner": "joiner", "min_answers": 2},
    "breaking-once": {"agents": ["one", "two"], "combiner": "breaking-once"},
    "failing": {"agents": ["one", "failing"], "combiner": "joiner", "min_answers": 2},
}

# A million dollars per million tokens: each token costs a dollar.
_PRICES: Mapping[str, Table] = {
    agent["model"]: {"input": 1e6, "output": 1e6} for agent in _AGENTS.values()
}


class Installation:
    """A place in which services are started one after the other, or side by side."""

    def __init__(
        self, start: Callable[..., Process], models: Recorder, folder: Path, database_url: str
    ) -> None:
        folder.mkdir()
        ensembles = folder / "ensembles.toml"
        ensembles.write_text(as_toml(_AGENTS, _ENSEMBLES, _PRICES))
        self.models = models
        self.folder = folder
        self.database_url = database_url
        self.settings = {
            "ENSEMBLES_FILE": str(ensembles),
            "LLM_BASE_URL": models.url,
            "DATABASE_URL": database_url,
            "SPOOL_DIR": str(folder / "spool"),
            "MIGRATE_ON_START": "true",
            **UNHURRIED_STORE,
        }
        self._start = start
        self._served: list[Process] = []

    def serve(self, *arguments: str, **settings: str) -> Process:
        """Start a service here; what an earlier one stored is there."""
        told: dict[str, Any] = self.settings | settings
        folder = self.folder / f"service-{len(self._served)}"  # for its .env and what it prints
        folder.mkdir()
        self._served.append(self._start(*arguments, folder=folder, **told))
        return self._served[-1]

    def end(self) -> None:
        """End every service that is still there."""
        for process in self._served:
            process.end()

    @property
    def is_postgres(self) -> bool:
        return self.database_url.startswith("postgres")
