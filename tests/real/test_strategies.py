"""Every strategy with llama.cpp and a model of 135M parameters, which judges badly.

Its answers and verdicts are often nonsense: each run must end with an answer all the same, and
report where a fixed rule has replaced a verdict.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests._support.clients.api import Api, assert_whole, client_of, of_type
from tests._support.llm.ensembles import as_toml
from tests._support.real.servers import LITELLM_KEY, MODEL, RealServer
from tests._support.servers.processes import Process, run_server
from tests._support.servers.services import UNHURRIED_STORE

AGENT: dict[str, Any] = {"model": MODEL, "max_tokens": 24, "temperature": 0.7, "retries": 0}
JUDGE: dict[str, Any] = {**AGENT, "max_tokens": 96, "temperature": 0}
AGENTS = {"a": AGENT, "b": AGENT, "c": AGENT, "combine": AGENT, "judge": JUDGE}
ENSEMBLES: dict[str, dict[str, Any]] = {
    "race": {"agents": ["a", "b"]},
    "best_of": {"agents": ["a", "b"], "judge": "judge"},
    "vote": {"agents": ["a", "a", "a"], "judge": "judge"},
    "council": {"agents": ["a", "b", "c"], "chair": "combine"},
    "layers": {"layers": [["a", "b"], ["c"]], "combiner": "combine"},
    "auto": {"agents": ["a", "b"], "combiner": "combine", "judge": "judge", "provenance": True},
}


@pytest.fixture(scope="module")
def strategies(llama: RealServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    folder: Path = tmp_path_factory.mktemp("strategies")
    file = folder / "ensembles.toml"
    tables = {name: {"strategy": name, **keys} for name, keys in ENSEMBLES.items()}
    file.write_text(as_toml(AGENTS, {"fanout": tables["auto"], **tables}, {}))
    settings = {
        "USE_LLM_MOCK": "false",
        "LLM_BASE_URL": llama.url,
        "LLM_KEY": LITELLM_KEY,
        "ENSEMBLES_FILE": str(file),
        **UNHURRIED_STORE,
    }
    with run_server(folder, "serve", "--port", "0", **settings) as process:
        yield process


@pytest.fixture
async def asked(strategies: Process) -> AsyncIterator[Api]:
    async with client_of(strategies.url) as api:
        yield api


@pytest.mark.parametrize("name", ENSEMBLES)
async def test_a_strategy_answers_whatever_its_judges_write(asked: Api, name: str) -> None:
    events = await asked.ask(ensemble=name, message="Name one colour of the sky.")
    assert_whole(events)
    final = events[-1].data
    assert final["type"] == "run.finished", final
    assert "".join(data["message"] for data in of_type(events, "answer.delta")).strip()
    nonsense = [data for data in of_type(events, "agent.failed") if "#" in data["source"]]
    nonsense += [data for data in of_type(events, "agent.failed") if data["source"] == "judge"]
    assert all(data["code"] == "judge_unusable" for data in nonsense)
    assert ("judge" in final.get("degraded_by", ())) == bool(nonsense)
