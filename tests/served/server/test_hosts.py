"""Attacks by pages of other sites: DNS rebinding, forms, scripts and WebSockets."""

from __future__ import annotations

import json

import httpx
import pytest

from tests._support.clients.api import Answered, Api, answered, asking, client_of, exchange
from tests._support.servers.processes import Process
from tests._support.servers.services import Start

EVIL = "evil.example"
_QUESTION = json.dumps(asking(ensemble="solo"))


async def _send(
    service: Process, method: str, path: str, body: str = "", **headers: str
) -> Answered:
    lines = {
        "Host": f"localhost:{service.port}",
        "Connection": "close",
        "Content-Length": str(len(body)),
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    request = f"{method} {path} HTTP/1.1\r\n{head}\r\n{body}"
    return answered(await exchange(service.port, request.encode()))


async def _count_runs(api: Api) -> int:
    total: int = (await api.http.get("/history")).json()["total"]
    return total


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/health"),
        ("GET", "/metrics"),
        ("GET", "/docs"),
        ("GET", "/history"),
        ("GET", "/search?query=secret"),
        ("GET", "/api/conversations"),
        ("GET", "/v1/models"),
        ("POST", "/api/process"),
        ("POST", "/v1/chat/completions"),
        ("DELETE", "/api/conversations/x"),
        ("OPTIONS", "/api/process"),
        ("GET", "/nowhere"),
    ],
)
async def test_a_rebound_name_is_refused_on_every_route(
    service: Process, method: str, path: str
) -> None:
    host = f"{EVIL}:{service.port}"
    response = await _send(service, method, path, Host=host, Origin=f"http://{host}")
    assert response.status == 421
    error = json.loads(response.body)["error"]
    assert "ALLOWED_HOSTS" in (error["message"] if path.startswith("/v1") else error)


async def test_a_rebound_name_opens_no_websocket(service: Process) -> None:
    response = await _send(
        service,
        "GET",
        "/chat",
        Host=EVIL,
        Origin=f"http://{EVIL}",
        Connection="Upgrade",
        Upgrade="websocket",
        Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZQ==",
        Sec_WebSocket_Version="13",
    )
    assert response.status == 421


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": f"http://{EVIL}"},
        {"Origin": "null"},
        {"Origin": "http://localhost:1"},  # another port is another origin
        {"Sec_Fetch_Site": "cross-site"},
        {"Origin": f"https://{EVIL}", "Sec_Fetch_Site": "cross-site"},
        {"Origin": "http://localhost:{port}", "Sec_Fetch_Site": "cross-site"},
        {"Origin": "http://localhost:{port}", "origin": f"http://{EVIL}"},
    ],
)
async def test_a_page_of_another_site_causes_nothing(
    service: Process, api: Api, headers: dict[str, str]
) -> None:
    before = await _count_runs(api)
    headers = {name: value.format(port=service.port) for name, value in headers.items()}
    kinds = ("application/json", "text/plain", "application/x-www-form-urlencoded")
    for kind in kinds:
        response = await _send(
            service, "POST", "/api/process", _QUESTION, Content_Type=kind, **headers
        )
        assert response.status == 403
        assert json.loads(response.body)["code"] == "origin_not_allowed"
    # A form without fields has no body, which creates a session.
    form = await _send(service, "POST", "/conversation/session", **headers)
    assert form.status == 403
    assert (await _send(service, "DELETE", "/api/conversations/x", **headers)).status == 403
    assert await _count_runs(api) == before


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://localhost:{port}"},
        {"Origin": "https://localhost:{port}"},  # behind a proxy with TLS
        {"Sec_Fetch_Site": "same-origin"},
        {"Sec_Fetch_Site": "none"},
    ],
)
async def test_own_pages_and_programs_are_served(service: Process, headers: dict[str, str]) -> None:
    sent = {name: value.format(port=service.port) for name, value in headers.items()}
    response = await _send(
        service, "POST", "/api/process", _QUESTION, Content_Type="application/json", **sent
    )
    assert response.status == 200


async def test_a_page_of_another_site_may_navigate_here(service: Process) -> None:
    response = await _send(service, "GET", "/docs", Sec_Fetch_Site="cross-site")
    assert response.status == 200


async def test_listed_hosts_and_origins_are_served(start: Start) -> None:
    service = start(ALLOWED_HOSTS="chat.example.com", ALLOWED_ORIGINS="https://app.example.org")
    async with client_of(service.url) as api:
        host = {"Host": "chat.example.com"}
        own = {**host, "Origin": "https://chat.example.com"}
        page = {"Origin": "https://app.example.org", "Sec-Fetch-Site": "cross-site"}
        for headers in (host, own, page):
            response = await api.http.post("/stream", json={"prompt": "Why?"}, headers=headers)
            assert response.status_code == 200
        refused: httpx.Response = await api.http.get("/health", headers={"Host": EVIL})
        assert refused.status_code == 421
