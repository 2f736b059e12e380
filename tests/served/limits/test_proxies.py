"""The proxies of deploy/proxy report the client's address, and pass streams on at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from tests._support.clients.api import asking, client_of, follow
from tests._support.clients.openai_sdk import USER
from tests._support.servers.processes import Process, run_server
from tests._support.servers.proxies import find_own_address, run_proxy
from tests._support.servers.services import Told

SPOOFED = {
    "X-Forwarded-For": "127.0.0.1",
    "Forwarded": "for=127.0.0.1",
    "X-Real-IP": "127.0.0.1",
    "X-Forwarded-Host": "localhost",
}
# The caller is this machine's own address, beyond loopback.
RULES = '[[rules]]\nmatch.address = "127.0.0.0/8"\nrequests = "7/hour"\n'


@pytest.fixture(scope="module")
def behind(told: Told, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A service that trusts a proxy on this machine."""
    folder = tmp_path_factory.mktemp("behind")
    (folder / "limits.toml").write_text(RULES)
    settings = {**told(folder), "TRUSTED_PROXIES": "127.0.0.1", "RATE_LIMIT_REQUESTS": "1000"}
    with run_server(folder, "serve", "--port", "0", **settings) as process:
        yield process


@pytest.fixture(params=["nginx", "caddy"])
def proxy_url(request: pytest.FixtureRequest, behind: Process, tmp_path: Path) -> Iterator[str]:
    address = find_own_address()
    with run_proxy(request.param, tmp_path, behind.port) as port:
        yield f"http://{address}:{port}"


async def test_a_client_cannot_choose_its_address_behind_a_proxy(proxy_url: str) -> None:
    async with client_of(proxy_url) as api:
        for headers in ({}, SPOOFED):
            body = asking(ensemble="solo")
            response = await api.http.post("/api/process", json=body, headers=headers)
            assert response.status_code == 200
            assert response.headers["x-ratelimit-limit"] == "1000"
            models = await api.http.get("/v1/models", headers=headers)
            assert "x-ratelimit-limit" not in models.headers


async def test_the_address_of_the_proxy_itself_is_not_the_client(behind: Process) -> None:
    async with client_of(behind.url) as api:
        response = await api.http.get("/v1/models")
    assert response.headers["x-ratelimit-limit"] == "7"


async def test_streams_and_websockets_pass_a_proxy_at_once(proxy_url: str) -> None:
    async with client_of(proxy_url) as api, api.asked(ensemble="ticking") as response:
        events = follow(response)
        seen = [(await anext(events)).type for _ in range(20)]
        assert "answer.delta" in seen  # while the run continues
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{proxy_url}/chat") as socket,
    ):
        await socket.send_json({"messages": USER, "ensemble": "ticking"})
        assert "token" in await socket.receive_json() or "error" in await socket.receive_json()
        await socket.send_json({"type": "cancel"})


@pytest.mark.parametrize(
    ("host", "reported", "status"),
    [
        ("localhost", "chat", 200),
        ("localhost", "evil.example", 421),
        ("evil.example", "localhost", 421),  # a page chooses the header in a rebinding attack
        ("evil.example", "chat", 421),
    ],
)
async def test_a_reported_host_does_not_replace_the_check_of_the_sent_one(
    behind: Process, host: str, reported: str, status: int
) -> None:
    async with client_of(behind.url) as api:
        headers = {"Host": host, "X-Forwarded-Host": reported}
        assert (await api.http.get("/health", headers=headers)).status_code == status
