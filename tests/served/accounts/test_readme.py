"""The commands of the README's section on accounts, from a fresh folder to an answer."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import httpx

from tests._support.clients.api import asking, events_of
from tests._support.patience import PATIENCE_S
from tests._support.servers.processes import command, environment
from tests._support.servers.services import Start, Told


def _run(folder: Path, settings: dict[str, str], *arguments: str, typed: str = "") -> str:
    ran = subprocess.run(
        command(*arguments),
        cwd=folder,
        env=environment(settings),
        input=typed,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


async def test_a_user_and_a_key_of_the_command_line_are_let_in(
    start: Start, told: Told, tmp_path: Path
) -> None:
    settings = told(tmp_path)
    user = ("users", "add", "alice", "--admin", "--password-stdin")
    _run(tmp_path, settings, *user, typed="correct horse battery\n")
    service = start(folder=tmp_path, AUTH="required")
    # While the service runs, on the same database.
    created = _run(tmp_path, settings, "keys", "create", "--user", "alice", "--name", "laptop")
    key = created.split()[-1]
    async with httpx.AsyncClient(base_url=service.url, timeout=PATIENCE_S) as http:
        assert (await http.post("/api/process", json=asking())).status_code == 401
        headers = {"Authorization": f"Bearer {key}"}
        assert (await http.get("/api/me", headers=headers)).json()["user"] == "alice"
        answer = await http.post("/api/process", json=asking(), headers=headers)
        assert events_of(answer.content)[-1].type == "run.finished"
    listed = json.loads(_run(tmp_path, settings, "keys", "list", "--user", "alice", "--json"))
    assert key not in json.dumps(listed)
    assert key not in service.out + service.err


async def test_a_static_key_needs_no_account(start: Start) -> None:
    service = start(API_KEY="a-static-key-0123456789")
    async with httpx.AsyncClient(base_url=service.url, timeout=PATIENCE_S) as http:
        assert (await http.get("/history")).status_code == 401
        for headers in (
            {"Authorization": "Bearer a-static-key-0123456789"},
            {"X-API-Key": "a-static-key-0123456789"},
        ):
            assert (await http.get("/history", headers=headers)).status_code == 200
    assert "a-static-key" not in service.out + service.err
