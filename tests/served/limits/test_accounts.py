"""Limits of users and keys: each in addition to the rules, and shown with what is left."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests._support.clients.api import Api, asking, client_of
from tests._support.servers.processes import Process, environment, run_server
from tests._support.servers.services import Told

RULES = """
[[rules]]
name = "councils"
match = { role = "user", ensemble = "whole" }
requests = "1/day"
[[rules]]
name = "clients-of-openai"
match = { role = "user", route = "/v1/*" }
tokens = "1000000/day"
[[rules]]
name = "users"
match.role = "user"
requests = "100/minute"
streams = 5
cost_usd = "5/month"
"""


@pytest.fixture(scope="module")
def settings(told: Told, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("accounts")
    (folder / "limits.toml").write_text(RULES)
    url = f"sqlite:///{folder}/service.db"
    return {**told(folder), "AUTH": "required", "DATABASE_URL": url, "FOLDER": str(folder)}


@pytest.fixture(scope="module")
def closed(settings: dict[str, str]) -> Iterator[Process]:
    """A service that requires keys, with rules for users."""
    with run_server(Path(settings["FOLDER"]), "serve", "--port", "0", **settings) as process:
        yield process


def _command(settings: dict[str, str], *arguments: str) -> Any:
    """Run a command of the service on its database and return its JSON."""
    done = subprocess.run(
        [sys.executable, "-m", "service", *arguments, "--json"],
        cwd=settings["FOLDER"],
        env=environment(settings),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


async def _limits(api: Api, key: str) -> dict[tuple[str, str], dict[str, Any]]:
    response = await api.http.get("/api/me", headers={"Authorization": f"Bearer {key}"})
    assert response.status_code == 200, response.text
    return {(each["rule"], each["kind"]): each for each in response.json()["limits"]}


async def test_the_caller_sees_what_is_left_of_each_limit(
    closed: Process, settings: dict[str, str]
) -> None:
    _command(settings, "users", "add", "ada")
    first = _command(settings, "keys", "create", "--user", "ada", "--name", "a")["key"]
    async with client_of(closed.url) as api:
        for _ in range(3):
            assert len(await _limits(api, first)) == 5
        assert (await _limits(api, first))["users", "requests"]["remaining"] == 100
        response = await api.http.post(
            "/api/process",
            json=asking(ensemble="solo"),
            headers={"Authorization": f"Bearer {first}"},
        )
        assert response.headers["x-ratelimit-remaining"] == "99"
        shown = await _limits(api, first)
    assert shown["users", "requests"]["remaining"] == 99
    assert shown["users", "streams"] == {
        "rule": "users", "kind": "streams", "limit": 5, "remaining": 5, "period": None,
    }  # fmt: skip
    assert shown["users", "cost_usd"]["limit"] == 5
    assert shown["users", "cost_usd"]["remaining"] <= 5
    assert shown["councils", "requests"]["limit"] == 1
    assert shown["clients-of-openai", "tokens"]["remaining"] == 1_000_000


async def test_the_keys_of_a_user_share_its_limit_and_have_their_own(
    closed: Process, settings: dict[str, str]
) -> None:
    _command(settings, "users", "add", "bob")
    keys = [
        _command(settings, "keys", "create", "--user", "bob", "--name", name)["key"]
        for name in "ab"
    ]
    async with client_of(closed.url) as api:
        listed = await api.http.get("/api/keys", headers={"Authorization": f"Bearer {keys[0]}"})
        ids = {each["name"]: each["id"] for each in listed.json()["items"]}
        changed = await api.http.patch(
            f"/api/keys/{ids['b']}",
            json={"limits": {"requests": "2/hour"}},
            headers={"Authorization": f"Bearer {keys[0]}"},
        )
        assert changed.status_code == 200, changed.text
        seen = []
        for key in [keys[1]] * 8:
            response = await api.http.get("/v1/models", headers={"Authorization": f"Bearer {key}"})
            seen.append((response.status_code, response.headers.get("x-ratelimit-limit")))
        assert (429, "2") in seen
        other = await api.http.get("/v1/models", headers={"Authorization": f"Bearer {keys[0]}"})
        assert other.status_code == 200
        assert other.headers["x-ratelimit-limit"] == "100"
        error = await api.http.get("/v1/models", headers={"Authorization": f"Bearer {keys[1]}"})
        assert "'key'" in error.json()["error"]["message"]
