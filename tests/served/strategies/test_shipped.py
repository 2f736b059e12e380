"""The shipped ensembles of all strategies, asked as in the README, with the built-in mock."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from tests._support.clients.api import Api, assert_whole, client_of, of_type
from tests._support.paths import ROOT
from tests._support.servers.processes import Process, run_server


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    folder = tmp_path_factory.mktemp("shipped")
    file = str(ROOT / "ensembles.toml")
    with run_server(folder, "serve", "--port", "0", ENSEMBLES_FILE=file) as process:
        yield process


@pytest.fixture
async def shop(shipped: Process) -> AsyncIterator[Api]:
    async with client_of(shipped.url) as api:
        yield api


FINDINGS = {
    "race": set[str](),
    "best_of": {"ranking"},
    "vote": {"votes"},
    "council": {"ranking"},
    "layers": set[str](),
    "analyse": {"analysis", "provenance", "dissent"},
    "auto": {"gate", "analysis"},
}


@pytest.mark.parametrize("name", FINDINGS)
async def test_a_shipped_ensemble_streams_stores_its_findings_and_replays(
    shop: Api, name: str
) -> None:
    events = await shop.ask(ensemble=name)
    assert_whole(events)
    final = events[-1].data
    assert final["type"] == "run.finished"
    assert "degraded" not in final
    run_id = events[0].data["run_id"]
    run: dict[str, Any] = (await shop.http.get(f"/api/runs/{run_id}")).json()
    assert (
        set(run) & {"analysis", "votes", "ranking", "gate", "provenance", "dissent"}
        == (FINDINGS[name])
    )
    written = "".join(data["message"] for data in of_type(events, "answer.delta"))
    assert run["answer"] == written
    assert "⟦" not in written
    assert all(written[at["start"] : at["end"]] == at["text"] for at in run.get("provenance", ()))
    total = sum(agent["usage"]["total_tokens"] for agent in run["agents"])
    assert total == run["usage"]["total_tokens"]
    seq = events[len(events) // 2].data["seq"]
    rest = await shop.http.get(f"/api/runs/{run_id}/events?starting_after={seq}")
    assert rest.text.count("\ndata:") == len(events) - seq


async def test_stored_answers_are_combined_again_without_a_call_of_an_agent(shop: Api) -> None:
    first = await shop.ask(ensemble="best_of")
    address = f"/api/runs/{first[0].data['run_id']}/resynthesize"
    response = await shop.http.post(address, json={"strategy": "synthesize", "prompt": "Combine."})
    assert response.status_code == 200
    assert '"reused": true' in response.text
    assert "agent.started" not in response.text
    assert '"Combining via LLM 3"' in response.text
    refused = await shop.http.post(address, json={"strategy": "race"})
    assert (refused.status_code, refused.json()["code"]) == (400, "bad_request")
    unknown = await shop.http.post(address, json={"model": "x"})
    assert unknown.status_code == 400
