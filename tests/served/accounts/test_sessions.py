"""Web sessions: their lifetimes, on WebSockets, and logins with Redis."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import httpx

from tests._support.accounts.visitors import PASSWORD, visiting
from tests._support.clients.api import until
from tests._support.patience import PATIENCE_S
from tests._support.servers.databases import Redis
from tests._support.servers.services import Start

_QUESTION = {"messages": [{"role": "user", "content": "Why?"}]}


async def test_a_session_ends_after_its_lifetime_and_after_a_time_without_requests(
    start: Start,
) -> None:
    for settings in ({"SESSION_LIFETIME_S": "1"}, {"SESSION_IDLE_S": "1"}):
        process = start(AUTH="required", **settings)
        async with visiting(process.url) as visitor:
            await visitor.enter("brief")
            headers = {"Cookie": f"lsse-session={visitor.http.cookies.get('lsse-session')}"}
            visitor.http.cookies.clear()

            async def has_ended(headers: dict[str, str] = headers) -> bool:
                response = await visitor.http.get("/history", headers=headers)
                return response.status_code == 401

            await until(has_ended)


async def test_a_websocket_with_a_cookie_ends_with_its_session(start: Start) -> None:
    process = start(AUTH="required")
    async with visiting(process.url) as visitor:
        await visitor.enter("talker")
        cookies = {"lsse-session": visitor.http.cookies["lsse-session"]}
        jar = aiohttp.CookieJar(unsafe=True)  # of an address without a name
        async with aiohttp.ClientSession(cookies=cookies, cookie_jar=jar) as client:
            address = f"{process.url}/chat"
            async with client.ws_connect(address, origin=process.url) as socket:
                await socket.send_json(_QUESTION)
                while "done" not in await socket.receive_json(timeout=PATIENCE_S):
                    pass
                assert (await visitor.send("POST", "/api/auth/logout")).status_code == 204
                await socket.send_json(_QUESTION)
                assert "error" in await socket.receive_json(timeout=PATIENCE_S)
                await socket.receive(timeout=PATIENCE_S)
                assert socket.close_code == 4401
            refused = await _connect(client, address, "https://evil.example")
            assert refused == 403


async def _connect(client: aiohttp.ClientSession, address: str, origin: str) -> int:
    try:
        async with client.ws_connect(address, origin=origin):
            return 101
    except aiohttp.WSServerHandshakeError as error:
        return error.status


async def test_attempts_are_counted_in_redis_and_without_it_logins_are_refused(
    start: Start, redis: Redis
) -> None:
    redis.empty()
    settings = {"AUTH": "required", "REDIS_URL": redis.url}
    processes = [start(**settings), start(**settings)]
    async with httpx.AsyncClient(timeout=PATIENCE_S) as client:

        async def guess(number: int) -> int:
            body = {"name": "guessed", "password": f"guess {number}"}
            url = f"{processes[number % 2].url}/api/auth/login"
            return (await client.post(url, json=body)).status_code

        statuses = [await guess(number) for number in range(30)]
        assert statuses.count(401) < 20
        assert statuses[-1] == 429
        async with visiting(processes[0].url) as visitor:
            await visitor.enter("steady")
            redis.stop_the_world()
            try:
                refused = await visitor.log_in("steady")
                assert refused.status_code == 503
                assert int(refused.headers["Retry-After"]) >= 1
                body = {"name": "late", "password": PASSWORD}
                registered = await visitor.http.post("/api/auth/register", json=body)
                assert registered.status_code == 503
                assert (await visitor.http.get("/history")).status_code == 200
            finally:
                redis.resume()

            async def works_again() -> bool:
                return (await visitor.log_in("steady")).status_code == 200

            await until(works_again)


async def test_with_a_static_key_alone_strangers_cannot_register(
    start: Start, tmp_path: Path
) -> None:
    process = start(API_KEY="a-static-key-0123456789")
    assert "with the code" not in process.err
    async with visiting(process.url) as visitor:
        refused = await visitor.register("stranger")
        assert (refused.status_code, refused.json()["code"]) == (403, "registration_closed")
        headers = {"X-API-Key": "a-static-key-0123456789"}
        for method, path in (("GET", "/api/auth/sessions"), ("POST", "/api/auth/logout")):
            response = await visitor.http.request(method, path, headers=headers)
            assert response.status_code == 409
        assert (await visitor.http.get("/api/keys", headers=headers)).status_code == 403
