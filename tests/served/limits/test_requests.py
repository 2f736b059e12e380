"""Limits of requests over real sockets: the defaults, rules, replays, and every API's refusal."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from uuid import uuid4

import aiohttp
import httpx
import pytest

from tests._support.clients.api import (
    Api,
    asking,
    client_of,
    connected,
    events_of,
    head,
    until,
)
from tests._support.clients.callers import (
    ALL,
    ENSEMBLE,
    ONE_PER_HOUR,
    SEVERAL,
    ask_from,
    come_from,
    new_address,
)
from tests._support.clients.openai_sdk import USER
from tests._support.clients.openai_sdk import client_of as openai_client_of
from tests._support.patience import PATIENCE_S
from tests._support.servers.processes import Process
from tests._support.servers.services import Start
from tests._support.telemetry.metrics_page import read_metrics

CHAT = {"messages": USER, "stream": False}
APIS: dict[str, dict[str, Any]] = {
    "/api/process": asking(ensemble="solo"),
    "/chat": CHAT,
    "/chat?stream=true": CHAT,
    "/stream": {"prompt": "Why?"},
    "/conversation": {"message": "Why?", "stream": False},
    "/v1/chat/completions": {"model": "solo", "messages": USER},
    "/v1/responses": {"model": "solo", "input": "Why?"},
}


# --- the default limit ---


async def test_an_address_asks_three_times_at_once_and_then_once_per_second(caller: Api) -> None:
    address = new_address()
    started = time.monotonic()
    statuses = [(await ask_from(caller, address)).status_code for _ in range(12)]
    earned = int(time.monotonic() - started) + 1
    assert statuses[:3] == [200] * 3
    assert 3 <= statuses.count(200) <= 3 + earned
    refused = await _until_refused(caller, address)
    assert refused.headers["retry-after"] == "1"
    assert "'default'" in refused.json()["error"]


async def test_the_default_limit_counts_only_requests_that_start_a_run(caller: Api) -> None:
    address = new_address()
    await _until_refused(caller, address)
    for path in ("/history", "/api/conversations", "/v1/models", "/health"):
        response = await caller.http.get(path, headers=come_from(address))
        assert response.status_code == 200
        assert "x-ratelimit-limit" not in response.headers


async def test_callers_on_this_machine_have_no_limit(caller: Api) -> None:
    for headers in ({}, come_from("127.0.0.1"), come_from("::1")):
        for _ in range(5):
            response = await caller.http.post(
                "/api/process", json=asking(ensemble="solo"), headers=headers
            )
            assert response.status_code == 200
            assert "x-ratelimit-limit" not in response.headers


async def test_a_proxy_that_hides_its_client_is_no_caller_on_this_machine(caller: Api) -> None:
    response = await ask_from(caller, "unknown")
    assert response.headers["x-ratelimit-limit"] == "3"


async def test_ipv6_addresses_of_one_site_share_a_limit(caller: Api) -> None:
    site = f"2001:db8:{uuid4().hex[:4]}:1"
    for number in range(8):
        response = await ask_from(caller, f"{site}::{number + 1}")
    assert response.status_code == 429
    assert (await ask_from(caller, f"{site[:-1]}2::1")).status_code == 200


async def test_a_client_that_is_no_proxy_cannot_choose_its_address(start: Start) -> None:
    service = start(TRUSTED_PROXIES="10.0.0.0/8")
    async with client_of(service.url) as api:
        for _ in range(3):
            assert (await ask_from(api, new_address())).status_code in {200, 429}
        assert (await _until_refused(api, new_address())).status_code == 429
    assert "which is not in TRUSTED_PROXIES" in service.err


async def test_settings_replace_the_default_by_a_window_or_turn_it_off(start: Start) -> None:
    window = start(TRUSTED_PROXIES="127.0.0.1", RATE_LIMIT_REQUESTS="4",
                   RATE_LIMIT_WINDOW_SECONDS="2")  # fmt: skip
    async with client_of(window.url) as api:
        address = new_address()
        responses = [await ask_from(api, address) for _ in range(8)]
        assert [each.status_code for each in responses[:4]] == [200] * 4
        refused = await _until_refused(api, address)
        assert refused.headers["x-ratelimit-limit"] == "4"
        assert int(refused.headers["retry-after"]) <= 2
        assert "q=4;w=2" in refused.headers["ratelimit-policy"]
    off = start(TRUSTED_PROXIES="127.0.0.1", RATE_LIMIT_ENABLED="false")
    async with client_of(off.url) as api:
        statuses = {(await ask_from(api, address)).status_code for _ in range(6)}
    assert statuses == {200}


# --- rules ---


@pytest.mark.parametrize("path", APIS)
async def test_every_api_refuses_in_its_own_format_with_the_headers(caller: Api, path: str) -> None:
    headers = come_from(new_address(ONE_PER_HOUR))
    accepted = await caller.http.post(path, json=APIS[path], headers=headers)
    refused = await caller.http.post(path, json=APIS[path], headers=headers)
    assert accepted.status_code == 200, accepted.text
    assert refused.status_code == 429
    for response in (accepted, refused):
        assert response.headers["x-ratelimit-limit"] == "1"
        assert response.headers["x-ratelimit-remaining"] == "0"
        assert 0 < int(response.headers["x-ratelimit-reset"]) - time.time() <= 3_601
        assert response.headers["ratelimit-policy"] == '"one-per-hour";q=1;w=3600'
        assert response.headers["ratelimit"].startswith('"one-per-hour";r=0;t=3')
    assert 3_000 < int(refused.headers["retry-after"]) <= 3_600
    body = refused.json()
    if path.startswith("/v1"):
        assert (body["error"]["code"], body["error"]["param"]) == ("rate_limit_exceeded", None)
        assert refused.headers["x-ratelimit-remaining-requests"] == "0"
        assert refused.headers["x-ratelimit-reset-requests"].startswith(("59m", "1h0m"))
        sentence = body["error"]["message"]
    else:
        assert body["code"] == "rate_limited"
        sentence = body["error"]
    assert "'one-per-hour'" in sentence
    assert "1 of 1 requests per hour" in sentence


@pytest.mark.parametrize("path", ["/api/process", "/v1/chat/completions", "/v1/responses"])
async def test_a_refused_body_is_not_read(limited: Process, caller: Api, path: str) -> None:
    address = new_address(ONE_PER_HOUR)
    first = await caller.http.post(path, json=APIS[path], headers=come_from(address))
    assert first.status_code == 200
    request = head(f"X-Forwarded-For: {address}", "Content-Length: 200000", path=path)
    async with asyncio.timeout(PATIENCE_S), connected(limited.port) as (reader, writer):
        writer.write(request)  # and no body
        assert await reader.readline() == b"HTTP/1.1 429 \r\n"


async def test_an_ensemble_has_its_own_rule(caller: Api) -> None:
    address = new_address(ENSEMBLE)
    assert (await ask_from(caller, address, ensemble="solo")).status_code == 200
    refused = await ask_from(caller, address, ensemble="solo")
    assert refused.status_code == 429
    assert "'one-ensemble'" in refused.json()["error"]
    other = await ask_from(caller, address, ensemble="whole")
    assert other.status_code == 200
    assert other.headers["x-ratelimit-limit"] == "100"


async def test_a_rule_for_all_routes_counts_every_request(caller: Api) -> None:
    headers = come_from(new_address(ALL))
    statuses = [
        (await caller.http.get(path, headers=headers)).status_code
        for path in ("/history", "/v1/models", "/api/conversations", "/v1/models")
    ]
    assert statuses == [200, 200, 429, 429]
    for path in ("/health", "/health/live", "/health/ready", "/docs", "/openapi.json"):
        assert (await caller.http.get(path, headers=headers)).status_code == 200


async def test_a_run_can_be_cancelled_by_a_caller_without_a_rest(caller: Api) -> None:
    address = new_address(ONE_PER_HOUR)
    async with caller.asked(come_from(address), ensemble="ticking") as response:
        run_id = response.headers["x-run-id"]
        assert (await ask_from(caller, address)).status_code == 429
        cancelled = await caller.http.post(f"/api/runs/{run_id}/cancel", headers=come_from(address))
        assert cancelled.status_code == 200


# --- replays ---


async def test_a_replay_is_not_counted_and_is_answered_without_a_rest(caller: Api) -> None:
    address = new_address(SEVERAL)
    headers = {**come_from(address), "Idempotency-Key": uuid4().hex}
    body = asking(ensemble="solo")
    first = await caller.http.post("/api/process", json=body, headers=headers)
    assert first.headers["x-ratelimit-remaining"] == "2"
    for _ in range(2):
        assert (await ask_from(caller, address)).status_code == 200
    assert (await ask_from(caller, address)).status_code == 429
    for _ in range(3):
        again = await caller.http.post("/api/process", json=body, headers=headers)
        assert again.content == first.content
    last = events_of(first.content)[0].id
    resumed = await caller.http.post(
        "/api/process", json=body, headers={**come_from(address), "Last-Event-ID": last}
    )
    assert resumed.status_code == 200
    other = {**come_from(address), "Idempotency-Key": uuid4().hex}
    refused = await caller.http.post("/api/process", json=body, headers=other)
    assert refused.status_code == 429
    assert refused.headers["x-ratelimit-remaining"] == "0"


# --- clients ---


async def test_a_websocket_reports_the_limit_and_stays_open(limited: Process) -> None:
    headers = come_from(new_address(ONE_PER_HOUR))
    question = {"messages": USER, "conversation_id": None}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.ws_connect(f"{limited.url}/chat") as socket,
    ):
        seen = []
        for _ in range(3):
            await socket.send_json(question)
            while not ({"done", "error"} & (message := await socket.receive_json()).keys()):
                pass
            seen.append(message)
        assert "done" in seen[0]
        for message in seen[1:]:
            assert "'one-per-hour'" in message["error"]
        assert not socket.closed


async def test_openais_sdk_waits_for_the_limit_and_repeats_the_request(limited: Process) -> None:
    options = {"max_retries": 5, "default_headers": come_from(new_address())}
    async with openai_client_of(limited, **options) as client:
        for _ in range(5):
            completion = await client.chat.completions.create(model="solo", messages=USER)
            assert completion.choices[0].message.content


async def test_pages_of_other_origins_may_read_the_headers(start: Start) -> None:
    service = start(TRUSTED_PROXIES="127.0.0.1", ALLOWED_ORIGINS="https://app.example")
    async with client_of(service.url) as api:
        headers = {**come_from(new_address()), "Origin": "https://app.example"}
        response = await api.http.post("/api/process", json=asking(), headers=headers)
    exposed = {
        name.strip().lower()
        for name in response.headers["access-control-expose-headers"].split(",")
    }
    limits = {name for name in response.headers if "ratelimit" in name}
    assert limits
    assert limits <= exposed


# --- operation ---


async def test_decisions_are_counted_by_rule(caller: Api) -> None:
    address = new_address(ONE_PER_HOUR)
    for _ in range(3):
        await ask_from(caller, address)
    page = await read_metrics(caller)
    refused = {"kind": "requests", "rule": "one-per-hour", "outcome": "refused"}
    assert page("limit_requests_total", **refused) >= 2


async def test_a_changed_file_applies_and_an_invalid_one_does_not(
    start: Start, tmp_path: Any
) -> None:
    service = start(TRUSTED_PROXIES="127.0.0.1", RATE_LIMIT_ENABLED="false")
    async with client_of(service.url) as api:
        assert "x-ratelimit-limit" not in (await ask_from(api, new_address())).headers

        async def limit() -> str | None:
            response = await api.http.get("/v1/models", headers=come_from(new_address()))
            limit: str | None = response.headers.get("x-ratelimit-limit")
            return limit

        file = service.folder / "limits.toml"
        for text, expected in (
            ('[[rules]]\nrequests = "7/minute"\n', "7"),
            ('[[rules]]\nrequests = "9/minute"\n', "9"),
        ):
            file.write_text(text)

            async def applies(expected: str = expected) -> bool:
                return await limit() == expected

            await until(applies)
        file.write_text('[[rules]]\nrequests = "sixty"\n')
        await until(lambda: _logs(service, "limits.toml:2"))
        assert await limit() == "9"


async def _logs(service: Process, text: str) -> bool:
    return text in service.err


async def _until_refused(api: Api, address: str) -> httpx.Response:
    """Ask until the limit refuses: on a slow machine the bucket fills while answers arrive."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            for response in await asyncio.gather(*(ask_from(api, address) for _ in range(8))):
                if response.status_code == 429:
                    return response
