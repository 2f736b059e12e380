"""Services with priced models, whose every token costs a thousandth of a dollar, and a budget."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests._support.llm.ensembles import Table, as_toml
from tests._support.servers.processes import Process, run_server
from tests._support.servers.services import Start, Told

TOKENS = 20  # of each answer; it may have twice as many
_AGENTS: dict[str, Table] = {
    name: {"model": f"{name}?tokens={TOKENS}&first_ms={first_ms}&gap_ms=1", "max_tokens": 40}
    for name, first_ms in {"one": 20, "two": 30, "joiner": 10}.items()
}
_ENSEMBLES: dict[str, Table] = {"fanout": {"agents": ["one", "two"], "combiner": "joiner"}}
_PRICES: dict[str, Table] = {
    str(agent["model"]): {"input": 10, "output": 100} for agent in _AGENTS.values()
}


def write_files(folder: Path, limit: str) -> dict[str, str]:
    """Write an ensembles file with prices and a limits file; return their settings."""
    ensembles, rules = folder / "priced.toml", folder / "limits.toml"
    ensembles.write_text(as_toml(_AGENTS, _ENSEMBLES, _PRICES))
    rules.write_text(f'[[rules]]\nname = "small"\n{limit}\n')
    return {"ENSEMBLES_FILE": str(ensembles), "LIMITS_FILE": str(rules)}


@pytest.fixture
def limited(start: Start, tmp_path: Path) -> Start:
    """Start a service with one rule: `limited('cost_usd = "0.05/day"', "--workers", "2")`."""

    def begin(limit: str, *arguments: str, **settings: str) -> Process:
        return start(*arguments, **write_files(tmp_path, limit), **settings)

    return begin


@pytest.fixture(scope="module")
def poor(told: Told, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A service whose budget is too small for any run."""
    folder = tmp_path_factory.mktemp("poor")
    settings = told(folder) | write_files(folder, 'cost_usd = "0.001/month"')
    with run_server(folder, "serve", "--port", "0", **settings) as process:
        yield process
