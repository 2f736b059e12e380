"""Slow and silent calls: hedges, stragglers, and the pace of agents after a restart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests._support.clients.api import Api, answer_of, assert_whole, client_of, of_type
from tests._support.llm.recorder import Recorder, recording
from tests._support.servers.services import Start

PACE = "tokens=8&first_ms=60&gap_ms=4"
# A fault of the service would wait for 300 s, longer than the tests' patience.
ENSEMBLES = f"""\
default = "fanout"
[agents.a]
model = "a?{PACE}"
[agents.b]
model = "b?{PACE}"
[agents.combine]
model = "combine?{PACE}"
first_token_timeout_s = 300
[agents.alone]
model = "alone?{PACE}"
first_token_timeout_s = 300
[ensembles.fanout]
agents = ["a", "b"]
combiner = "combine"
straggler_max_s = 300
[ensembles.solo]
strategy = "solo"
agents = ["alone"]
"""


@pytest.fixture
def models() -> Iterator[Recorder]:
    with recording() as recorder:
        yield recorder


@pytest.fixture
async def api(start: Start, models: Recorder, tmp_path: Path) -> AsyncIterator[Api]:
    file = tmp_path / "ensembles.toml"
    file.write_text(ENSEMBLES)
    process = start(LLM_BASE_URL=models.url, ENSEMBLES_FILE=str(file))
    async with client_of(process.url) as client:
        yield client


async def _warm_up(api: Api, ensemble: str = "fanout", runs: int = 30) -> None:
    """Ask until the pace of the agents is known, and some hedges are saved."""
    for _ in range(runs // 6):
        await asyncio.gather(*(api.ask(ensemble=ensemble) for _ in range(6)))


async def test_a_silent_combiner_is_called_again_beside_the_first_call(
    api: Api, models: Recorder
) -> None:
    await _warm_up(api)
    models.silent.append("combine")
    calls = len(models.asked)
    events = await api.ask()
    assert_whole(events)
    (hedged,) = of_type(events, "agent.hedged")
    assert (hedged["status"], hedged["source"]) == ("Hedging combine", "combine")
    assert hedged["model"].startswith("combine?")
    assert hedged["waited_ms"] >= 60
    (finished,) = of_type(events, "run.finished")
    assert not finished.get("degraded")
    assert finished["usage"]["estimated"]
    assert len(answer_of(events).split()) == 8
    assert len(models.asked) - calls >= 4
    shown = await api.shown(events[0].data["run_id"])
    assert {each["name"]: each.get("hedges", 0) for each in shown["agents"]}["combine"] >= 1
    page = (await api.http.get("/metrics")).text
    assert 'fanout_hedges_total{agent="combine",reason="won"} 1.0' in page


async def test_a_silent_agent_is_cut_off_long_before_straggler_max_s(
    api: Api, models: Recorder
) -> None:
    await _warm_up(api)
    models.silent += ["a", "a", "a"]
    events = await api.ask()
    assert_whole(events)
    (skipped,) = of_type(events, "agent.skipped")
    assert (skipped["source"], skipped["code"]) == ("a", "straggler")
    assert "longer than usual until its first token" in skipped["message"]
    (finished,) = of_type(events, "run.finished")
    assert finished["degraded_by"] == ["agents"]
    page = (await api.http.get("/metrics")).text
    assert 'fanout_straggler_cuts_total{agent="a",reason="first_token"} 1.0' in page


async def test_a_silent_single_agent_is_hedged_in_every_api(api: Api, models: Recorder) -> None:
    await _warm_up(api, "solo", runs=60)
    models.silent.append("alone")
    body = {"model": "solo", "messages": [{"role": "user", "content": "Why?"}]}
    answer = (await api.http.post("/v1/chat/completions", json=body)).json()
    assert len(answer["choices"][0]["message"]["content"].split()) == 8
    models.silent.append("alone")
    text = (await api.http.post("/stream", json={"prompt": "Why?", "ensemble": "solo"})).text
    assert len(text.split()) == 8


async def test_the_pace_of_agents_is_known_after_a_restart(
    start: Start, models: Recorder, tmp_path: Path
) -> None:
    file = tmp_path / "ensembles.toml"
    file.write_text(ENSEMBLES)
    settings = {"LLM_BASE_URL": models.url, "ENSEMBLES_FILE": str(file)}
    settings["DATABASE_URL"] = f"sqlite:///{tmp_path / 'shared.db'}"
    first = start(**settings)
    async with client_of(first.url) as api:
        await _warm_up(api)
    first.end()
    async with client_of(start(**settings).url) as api:
        models.silent.append("a")
        events = await api.ask()
    assert [each["source"] for each in of_type(events, "agent.skipped")] == ["a"]
