"""CORS: pages of the origins in ALLOWED_ORIGINS may read responses."""

from __future__ import annotations

import pytest

from tests._support.clients.api import Api, client_of
from tests._support.servers.services import Start

PAGE = "https://app.example.org"
ALLOWED = "https://app.example.org, http://localhost:3000/"


def _asking_first(origin: str, method: str = "POST") -> dict[str, str]:
    return {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "content-type,authorization,x-stainless-lang",
    }


@pytest.mark.parametrize("origin", [PAGE, "http://localhost:3000"])
async def test_a_page_that_is_named_may_read_answers_and_errors(start: Start, origin: str) -> None:
    async with client_of(start(ALLOWED_ORIGINS=ALLOWED).url) as api:
        for path in ("/api/process", "/v1/chat/completions", "/chat"):
            before = await api.http.options(path, headers=_asking_first(origin))
            assert before.status_code == 200
            assert before.headers["access-control-allow-origin"] == origin
            assert "POST" in before.headers["access-control-allow-methods"]
            assert "x-stainless-lang" in before.headers["access-control-allow-headers"]
        for body in ({"prompt": "Why?"}, {"prompt": ""}):
            answer = await api.http.post("/stream", json=body, headers={"Origin": origin})
            assert answer.headers["access-control-allow-origin"] == origin
            readable = answer.headers["access-control-expose-headers"].split(", ")
            assert {"X-Run-Id", "Retry-After", "x-should-retry"} <= set(readable)
            assert answer.headers["vary"] == "Origin"


@pytest.mark.parametrize(
    "origin", ["https://evil.example.org", "null", "https://app.example.org.eu"]
)
async def test_a_page_that_is_not_named_may_not(start: Start, origin: str) -> None:
    async with client_of(start(ALLOWED_ORIGINS=ALLOWED).url) as api:
        before = await api.http.options("/stream", headers=_asking_first(origin))
        answer = await api.http.get("/history", headers={"Origin": origin})
    assert "access-control-allow-origin" not in before.headers
    assert "access-control-allow-origin" not in answer.headers


async def test_unless_told_no_other_page_may(api: Api) -> None:
    answer = await api.http.get("/history", headers={"Origin": PAGE})
    assert "access-control-allow-origin" not in answer.headers
    assert "vary" not in answer.headers


async def test_the_refusal_of_a_page_names_the_setting_and_the_proxys_header(api: Api) -> None:
    answer = await api.http.post("/stream", json={"prompt": "Why?"}, headers={"Origin": PAGE})
    assert answer.status_code == 403
    for part in (PAGE, "ALLOWED_ORIGINS", "Host"):
        assert part in answer.json()["error"]
