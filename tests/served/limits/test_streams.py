"""Open streams are counted from admission to the end of the answer, however it ends."""

from __future__ import annotations

import aiohttp
import httpx
import pytest

from tests._support.clients.api import Api, asking, connected, follow, head, until
from tests._support.clients.callers import STREAMS, ask_from, come_from, new_address
from tests._support.clients.openai_sdk import USER
from tests._support.servers.processes import Process


async def _wait_for_free(caller: Api, address: str) -> httpx.Response:
    """Ask until an answer of the address may be open, and return it."""
    responses: list[httpx.Response] = []

    async def is_free() -> bool:
        responses.append(await ask_from(caller, address))
        return responses[-1].status_code == 200

    await until(is_free)
    return responses[-1]


async def test_a_further_stream_is_refused_until_one_has_ended(caller: Api) -> None:
    address = new_address(STREAMS)
    async with caller.asked(come_from(address), ensemble="ticking") as first:
        async with caller.asked(come_from(address), ensemble="ticking"):
            refused = await ask_from(caller, address)
            assert refused.status_code == 429
            assert "2 of 2 answers are open" in refused.json()["error"]
            assert refused.headers["retry-after"] == "1"
            assert refused.headers["x-ratelimit-limit"] == "2"
            assert (
                '"open streams";q=2;qu="concurrent-requests"'
                in (refused.headers["ratelimit-policy"])
            )
            assert (await ask_from(caller, new_address(STREAMS))).status_code == 200
        after = await _wait_for_free(caller, address)
        assert after.headers["x-ratelimit-limit"] == "1000"
        assert (await anext(follow(first))).type == "run.started"


async def test_an_ended_answer_is_not_open(caller: Api) -> None:
    address = new_address(STREAMS)
    for _ in range(4):
        assert (await _wait_for_free(caller, address)).status_code == 200


async def test_a_lost_client_has_no_open_stream(limited: Process, caller: Api) -> None:
    address = new_address(STREAMS)
    body = b'{"message": "Why?", "message_id": "m", "ensemble": "ticking"}'
    request = head(f"X-Forwarded-For: {address}", f"Content-Length: {len(body)}") + body
    for _ in range(2):
        async with connected(limited.port) as (reader, writer):
            writer.write(request)
            assert b" 200 " in await reader.readline()
    await _wait_for_free(caller, address)


async def test_the_reader_of_a_run_and_an_answer_in_json_are_streams_too(caller: Api) -> None:
    address = new_address(STREAMS)
    headers = come_from(address)
    async with (
        caller.asked(headers, ensemble="ticking") as response,
        caller.http.stream(
            "GET", f"/api/runs/{response.headers['x-run-id']}/events", headers=headers
        ) as second,
    ):
        assert second.status_code == 200
        run_id = response.headers["x-run-id"]
        for path in (f"/api/runs/{run_id}/events", f"/v1/responses/resp_{run_id[4:]}?stream=true"):
            refused = await caller.http.get(path, headers=headers)
            assert refused.status_code == 429, path
        body = {"model": "solo", "messages": USER}
        refused = await caller.http.post("/v1/chat/completions", json=body, headers=headers)
        assert refused.json()["error"]["code"] == "rate_limit_exceeded"
        resumed = await caller.http.post(
            "/api/process", json=asking(), headers={**headers, "Last-Event-ID": f"{run_id}-1"}
        )
        assert resumed.status_code == 429
        for path in (f"/api/runs/{run_id}", "/history", f"/v1/responses/resp_{run_id[4:]}"):
            assert (await caller.http.get(path, headers=headers)).status_code == 200


async def test_a_refused_request_leaves_no_open_stream(caller: Api) -> None:
    address = new_address(STREAMS)
    for body in ({}, asking(ensemble="nowhere"), asking(ensemble="one-status")):
        for _ in range(4):
            await caller.http.post("/api/process", json=body, headers=come_from(address))
    assert (await _wait_for_free(caller, address)).status_code == 200


async def test_an_answer_on_a_websocket_is_a_stream_until_its_end(
    limited: Process, caller: Api
) -> None:
    address = new_address(STREAMS)
    async with (
        aiohttp.ClientSession(headers=come_from(address)) as session,
        session.ws_connect(f"{limited.url}/chat") as socket,
        session.ws_connect(f"{limited.url}/chat") as other,
    ):
        assert (await ask_from(caller, address)).status_code == 200  # open sockets are no streams
        question = {"messages": USER, "ensemble": "ticking"}
        for each in (socket, other):
            await each.send_json(question)
            assert "token" in await each.receive_json()
        assert (await ask_from(caller, address)).status_code == 429
        await socket.send_json({"type": "cancel"})
        await _wait_for_free(caller, address)


@pytest.mark.parametrize("path", ["/api/process", "/v1/responses"])
async def test_a_replay_is_a_stream(caller: Api, path: str) -> None:
    address = new_address(STREAMS)
    headers = {**come_from(address), "Idempotency-Key": address}
    question: dict[str, object] = {"model": "ticking", "input": "Why?", "stream": True}
    body = asking(ensemble="ticking") if path == "/api/process" else question
    async with (
        caller.http.stream("POST", path, json=body, headers=headers) as first,
        caller.http.stream("POST", path, json=body, headers=headers) as second,
    ):
        assert first.headers["x-run-id"] == second.headers["x-run-id"]
        third = await caller.http.post(path, json=body, headers=headers)
        assert third.status_code == 429
