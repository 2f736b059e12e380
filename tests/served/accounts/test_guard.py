"""Credentials over real sockets: SDKs, raw requests, HTTP/2, WebSockets, pages of other origins."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import aiohttp
import httpx
import openai
import pytest

from tests._support.accounts.guarded import PAGE, STATIC_KEY, Guarded, serve_guarded
from tests._support.accounts.issuer import make_claims, make_hs256_token
from tests._support.accounts.rows import TestUser
from tests._support.clients.api import client_of, until
from tests._support.patience import PATIENCE_S
from tests._support.servers.services import Told

QUESTION = {"messages": [{"role": "user", "content": "Why?"}]}


@pytest.fixture(scope="module")
def guarded(told: Told, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    with serve_guarded(folder, told(folder)) as service:
        yield service


@pytest.fixture(scope="module")
def alice(guarded: Guarded) -> TestUser:
    return asyncio.run(guarded.rows.add_user("alice"))


@pytest.fixture
async def http(guarded: Guarded) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(guarded.url) as client:
        yield client.http


async def _send_raw(guarded: Guarded, path: str, headers: list[str]) -> str:
    """Return the response to a GET request of exactly these lines."""
    lines = [f"GET {path} HTTP/1.1", "Host: x", *headers, "Connection: close", "", ""]
    reader, writer = await asyncio.open_connection("127.0.0.1", guarded.process.port)
    writer.write("\r\n".join(lines).encode())
    response = (await asyncio.wait_for(reader.read(), PATIENCE_S)).decode()
    writer.close()
    await writer.wait_closed()
    return response


# --- HTTP ---


async def test_a_token_that_lowers_the_role_creates_no_key_of_the_full_role(
    http: httpx.AsyncClient, guarded: Guarded
) -> None:
    root = await guarded.rows.add_user("boss", role="admin")
    token = guarded.issuer.make_token("ES256", make_claims(sub=root.id, role="user"))
    lowered = {"Authorization": f"Bearer {token}"}
    body = {"name": "x"}
    created = (await http.post("/api/keys", json=body, headers=lowered)).json()
    assert "admin" not in created["scopes"]
    change = {"scopes": None}
    changed = await http.patch(f"/api/keys/{created['id']}", json=change, headers=lowered)
    assert "admin" not in changed.json()["scopes"]
    rotated = await http.post(f"/api/keys/{root.key.id}/rotate", headers=lowered)
    assert rotated.status_code == 403
    users = await http.get("/api/users", headers={"X-API-Key": created["key"]})
    assert users.status_code == 403


async def test_each_kind_of_credential_is_its_caller(
    http: httpx.AsyncClient, guarded: Guarded, alice: TestUser
) -> None:
    token = guarded.issuer.make_token("ES256", make_claims(sub=alice.id, scope="read"))
    callers = {
        alice.key.text: ("alice", "key", 4),
        STATIC_KEY: (None, "static_key", 3),
        token: ("alice", "jwt", 1),
        guarded.issuer.make_token("EdDSA"): ("jwt:alice", "jwt", 4),
    }
    for value, (user, method, scopes) in callers.items():
        for headers in ({"Authorization": f"Bearer {value}"}, {"X-API-Key": value}):
            me = (await http.get("/api/me", headers=headers)).json()
            assert (me["user"], me["method"], len(me["scopes"])) == (user, method, scopes)
    assert me["user_id"] == "jwt:alice"


async def test_openai_s_sdk_sends_the_key_and_receives_openai_s_errors(
    guarded: Guarded, alice: TestUser
) -> None:
    reader = await guarded.rows.add_key(alice.id, ["read"])

    def client(key: str) -> openai.AsyncOpenAI:
        url = f"{guarded.url}/v1"
        return openai.AsyncOpenAI(base_url=url, api_key=key, timeout=PATIENCE_S, max_retries=0)

    async with client(alice.key.text) as sdk:
        answer = await sdk.chat.completions.create(
            model="fanout", messages=[{"role": "user", "content": "Why?"}]
        )
        assert answer.choices[0].message.content
    async with client("sk-wrong") as sdk:
        with pytest.raises(openai.AuthenticationError) as unknown:
            await sdk.models.list()
        assert unknown.value.code == "invalid_api_key"
    async with client(reader.text) as sdk:
        assert [model.id async for model in sdk.models.list()]
        with pytest.raises(openai.PermissionDeniedError, match="no scope run"):
            await sdk.responses.create(model="fanout", input="Why?")


@pytest.mark.parametrize(
    "lines",
    [
        ["Authorization: Bearer {key}", "Authorization: Bearer {key}"],
        ["Authorization: Bearer {key}", "Authorization:"],
        ["Authorization: Basic {key}"],
        ["Authorization: {key}"],
        ["Authorization: Bearer {key} trailing"],
        ["Authorization: Bearer {key}, Bearer {key}"],
        ["Authorization: Bearer wrong", "X-API-Key: {key}"],
        ["Authorization:", "X-API-Key: {key}"],
        ["X-API-Key: {key}", "X-API-Key: {key}"],
        ["X-API-Key: Bearer {key}"],
        ["X-API-Key: {key}x"],
        ["X-API-Key: {key}\u00e9"],
        ["Authorization: Bearer {key}", "Authorization: Bearer wrong"],
        ["X-Authorization: Bearer {key}"],
        ["Proxy-Authorization: Bearer {key}"],
        ["Cookie: session={key}; api_key={key}"],
    ],
)
async def test_a_request_with_a_malformed_or_second_credential_is_refused(
    guarded: Guarded, alice: TestUser, lines: list[str]
) -> None:
    headers = [line.format(key=alice.key.text) for line in lines]
    response = await _send_raw(guarded, f"/history?api_key={alice.key.text}", headers)
    assert response.startswith("HTTP/1.1 401 ")
    assert "www-authenticate: Bearer" in response
    assert alice.key.text not in response


async def test_over_http_2_the_same_headers_count(guarded: Guarded, alice: TestUser) -> None:
    async with client_of(guarded.url, http2=True, http1=False) as client:
        assert (await client.http.get("/history")).status_code == 401
        response = await client.http.get("/history", headers=alice.headers)
    assert (response.status_code, response.http_version) == (200, "HTTP/2")


@pytest.mark.parametrize("path", ["//history", "/api//me", "/history/", "/%68istory", "/api/./me"])
async def test_other_spellings_of_an_address_are_no_way_around_the_guard(
    guarded: Guarded, path: str
) -> None:
    response = await _send_raw(guarded, path, [])
    status, location = response.split()[1], re.search(r"location: (\S+)", response)
    if status == "308":
        assert location
        response = await _send_raw(guarded, urlsplit(location[1]).path, [])
        status = response.split()[1]
    assert status in ("401", "404")


async def test_a_page_may_read_why_it_is_refused(http: httpx.AsyncClient, alice: TestUser) -> None:
    preflight = {
        "Origin": PAGE,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization",
    }
    before = await http.options("/stream", headers=preflight)
    assert before.status_code == 200
    assert before.headers["access-control-allow-headers"] == "authorization"
    refused = await http.post("/stream", json={"prompt": "Why?"}, headers={"Origin": PAGE})
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == PAGE
    assert "WWW-Authenticate" in refused.headers["access-control-expose-headers"]
    headers = {"Origin": PAGE, **alice.headers}
    assert (await http.get("/history", headers=headers)).status_code == 200


async def test_a_page_of_another_site_is_refused_also_with_a_key(
    http: httpx.AsyncClient, alice: TestUser
) -> None:
    headers = {"Origin": "https://evil.example.org", **alice.headers}
    assert (await http.post("/stream", json={}, headers=headers)).status_code == 403


async def test_with_credentials_any_host_is_served(
    http: httpx.AsyncClient, alice: TestUser
) -> None:
    headers = {"Host": "chat.example.com", **alice.headers}
    assert (await http.get("/history", headers=headers)).status_code == 200


async def test_the_metrics_are_for_an_administrator_s_key(
    http: httpx.AsyncClient, guarded: Guarded, alice: TestUser
) -> None:
    root = await guarded.rows.add_user("root", "admin")
    scraper = await guarded.rows.add_key(root.id, ["read"])
    for key, status in ((alice.key, 403), (scraper, 200)):
        response = await http.get("/metrics", headers={"X-API-Key": key.text})
        assert response.status_code == status
    assert (await http.get("/metrics")).status_code == 401


async def test_forged_tokens_are_refused(http: httpx.AsyncClient, guarded: Guarded) -> None:
    forged = [
        guarded.issuer.make_token(claims=make_claims(exp=int(time.time()) - 60)),
        guarded.issuer.make_token(claims=make_claims(aud="other")),
        guarded.issuer.make_token(kid="../../jwks.json"),
        make_hs256_token({"alg": "HS256", "kid": "RS256"}, secret=guarded.issuer.public_pem),
        make_hs256_token({"alg": "none"}),
    ]
    for token in forged:
        response = await http.get("/api/me", headers={"Authorization": f"Bearer {token}"})
        assert response.status_code == 401, token
        assert token not in response.text


async def test_an_expired_key_and_a_demoted_user_are_refused_soon(
    http: httpx.AsyncClient, guarded: Guarded
) -> None:
    bob = await guarded.rows.add_user("bob")

    async def status(method: str, path: str) -> int:
        return (await http.request(method, path, headers=bob.headers, json={})).status_code

    assert await status("POST", "/stream") == 400  # let in, and the body is wrong
    await guarded.rows.change_user(bob.id, role="viewer")

    async def is_viewer() -> bool:
        return await status("POST", "/stream") == 403 and await status("GET", "/history") == 200

    await until(is_viewer)
    expired_at = datetime.now(UTC) - timedelta(seconds=1)
    await guarded.rows.change_key(bob.key.id, expires_at=expired_at)

    async def is_refused() -> bool:
        return await status("GET", "/history") == 401

    await until(is_refused)


async def test_a_user_names_only_themselves_in_sessions(
    http: httpx.AsyncClient, guarded: Guarded
) -> None:
    carol = await guarded.rows.add_user("carol")

    async def create(user_id: str, headers: dict[str, str]) -> int:
        body = {"user_id": user_id}
        return (await http.post("/conversation/session", json=body, headers=headers)).status_code

    assert await create("carol", carol.headers) == 200
    assert await create(carol.id, carol.headers) == 200
    assert await create("bob", carol.headers) == 403
    asked = {"message": "Why?", "user_id": "bob"}
    assert (await http.post("/conversation", json=asked, headers=carol.headers)).status_code == 403
    for name, status in (("carol", 200), (carol.id, 200), ("bob", 404), ("CAROL", 404)):
        path = f"/conversation/sessions/user/{name}"
        listed = await http.get(path, headers=carol.headers)
        assert listed.status_code == status
        if status == 200:
            assert len(listed.json()["sessions"]) == 2
    # An application with the static key stores sessions of many users as one caller.
    assert await create("bob", {"X-API-Key": STATIC_KEY}) == 200


# --- the WebSocket ---


@asynccontextmanager
async def _socket(
    guarded: Guarded, key: str = "", protocols: tuple[str, ...] = (), query: str = ""
) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(
            f"{guarded.url}/chat{query}", headers=headers, protocols=protocols
        ) as socket,
    ):
        yield socket


async def _ask(socket: aiohttp.ClientWebSocketResponse) -> dict[str, str]:
    """Ask and return the last message of the answer."""
    await socket.send_json(QUESTION)
    while "token" in (message := await socket.receive_json(timeout=PATIENCE_S)):
        pass
    answer: dict[str, str] = message
    return answer


async def test_a_page_sends_its_key_as_a_subprotocol(guarded: Guarded, alice: TestUser) -> None:
    bearer = f"bearer.{alice.key.text}"
    for protocols, accepted in (((bearer,), bearer), (("chat", bearer), "chat")):
        async with _socket(guarded, protocols=protocols) as socket:
            assert socket.protocol == accepted
            assert (await _ask(socket))["done"] == "true"


@pytest.mark.parametrize("place", ["none", "header", "subprotocol", "two", "query"])
async def test_a_socket_without_a_valid_key_is_closed_with_4401(
    guarded: Guarded, alice: TestUser, place: str
) -> None:
    key = alice.key.text
    options = {
        "none": {},
        "header": {"key": "wrong", "protocols": (f"bearer.{key}",)},
        "subprotocol": {"protocols": ("bearer.wrong",)},
        "two": {"protocols": (f"bearer.{key}", "bearer.wrong")},
        "query": {"query": f"?api_key={key}"},
    }
    async with _socket(guarded, **options[place]) as socket:  # type: ignore[arg-type]
        assert list(await socket.receive_json(timeout=PATIENCE_S)) == ["error"]
        assert (await socket.receive(PATIENCE_S)).type == aiohttp.WSMsgType.CLOSE
        assert socket.close_code == 4401


async def test_a_socket_whose_key_may_not_ask_is_closed_with_4403(
    guarded: Guarded, alice: TestUser
) -> None:
    reader = await guarded.rows.add_key(alice.id, ["read"])
    async with _socket(guarded, reader.text) as socket:
        assert "scope run" in (await socket.receive_json(timeout=PATIENCE_S))["error"]
        await socket.receive(PATIENCE_S)
        assert socket.close_code == 4403


async def test_an_open_socket_ends_after_its_key_was_revoked(
    guarded: Guarded, alice: TestUser
) -> None:
    key = await guarded.rows.add_key(alice.id)
    async with _socket(guarded, key.text) as socket:
        assert "done" in await _ask(socket)
        await guarded.rows.change_key(key.id, revoked_at=datetime.now(UTC))
        last = ""

        async def is_closed() -> bool:
            nonlocal last
            last = json.dumps(await _ask(socket))
            return "error" in last

        await until(is_closed)
        await socket.receive(PATIENCE_S)
        assert socket.close_code == 4401
    assert "revoked" in last
