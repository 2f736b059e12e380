"""The data from before accounts: adopted by a user while the service runs."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path

import httpx

from tests._support.accounts.visitors import visiting
from tests._support.clients.api import asking, until
from tests._support.patience import PATIENCE_S
from tests._support.servers.processes import command, environment
from tests._support.servers.services import Start


def _run(folder: Path, url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    settings = {"DATABASE_URL": url, "MIGRATE_ON_START": "true"}
    return subprocess.run(
        command(*arguments),
        cwd=folder,
        env=environment(settings),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )


async def test_a_user_adopts_the_data_from_before_accounts(
    start: Start, tmp_path: Path, database_url: str
) -> None:
    settings = {"DATABASE_URL": database_url, "MIGRATE_ON_START": "true"}
    before = start(**settings)
    async with httpx.AsyncClient(base_url=before.url, timeout=PATIENCE_S) as http:
        asked = await http.post("/stream", json={"prompt": "About tides"})
        run_id = asked.headers["X-Run-Id"]
    before.end()
    guarded = start(AUTH="required", **settings)
    added = await asyncio.to_thread(_run, tmp_path, database_url, "users", "add", "alice")
    assert added.returncode == 0, added.stderr
    create = ("keys", "create", "--user", "alice", "--name", "laptop", "--json")
    created = await asyncio.to_thread(_run, tmp_path, database_url, *create)
    key = json.loads(created.stdout)["key"]
    async with visiting(guarded.url) as visitor:
        visitor.http.headers["Authorization"] = f"Bearer {key}"
        assert (await visitor.http.get("/history")).json()["total"] == 0
        assert (await visitor.http.get(f"/api/runs/{run_id}")).status_code == 404
        adopted = await asyncio.to_thread(_run, tmp_path, database_url, "users", "adopt", "alice")
        assert (adopted.returncode, adopted.stderr) == (0, "")
        assert "1 conversations and 1 runs" in adopted.stdout
        assert (await visitor.http.get("/history")).json()["total"] == 1
        assert (await visitor.http.get(f"/api/runs/{run_id}/events")).status_code == 200
        found = await visitor.http.get("/search", params={"query": "tides"})
        assert found.json()["total"] == 1

        body = asking(ensemble="steady")
        async with visitor.http.stream("POST", "/api/process", json=body) as running:
            assert running.status_code == 200
            disable = ("users", "disable", "alice")
            disabled = await asyncio.to_thread(_run, tmp_path, database_url, *disable)
            assert disabled.returncode == 0

            async def is_refused() -> bool:
                return (await visitor.http.get("/history")).status_code == 401

            await until(is_refused)
