"""`/history` and `/search`: runs by time and by words."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from tests._support.clients.api import Api, answer_of, client_of, follow
from tests._support.clients.strange_ids import STRANGE_IDS
from tests._support.servers.processes import Process

NOBODY = "run_" + "0" * 32
QUESTIONS = [
    "Why do zebras have stripes?",
    'Is <b>quicksilver</b> & "lead" heavier?',
    "Zebras again: what do zebras eat?",
    "Где живут медведи?",
    "How do bears winter, in caves or burrows?",
]


@pytest.fixture(scope="module")
def filled(archive: Process) -> list[str]:
    """The ids of the runs of QUESTIONS, oldest first."""

    async def fill() -> list[str]:
        async with client_of(archive.url) as api:
            return [(await api.ask(each, ensemble="solo"))[0].run_id for each in QUESTIONS]

    return asyncio.run(fill())


@pytest.fixture
async def api(archive: Process, filled: list[str]) -> AsyncIterator[Api]:
    async with client_of(archive.url) as client:
        yield client


async def page(api: Api, path: str = "/history", **query: Any) -> dict[str, Any]:
    response = await api.http.get(path, params=query)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def prompts(found: dict[str, Any]) -> list[str]:
    return [item["prompt"] for item in found["items"]]


# --- history ---


async def test_history_is_newest_first_and_says_how_much_there_is(api: Api) -> None:
    found = await page(api)
    assert prompts(found) == QUESTIONS[::-1]
    assert (found["total"], found["limit"], found["offset"]) == (5, 10, 0)


async def test_a_page_is_a_part_of_it(api: Api) -> None:
    found = await page(api, limit=2, offset=1)
    assert prompts(found) == QUESTIONS[3:1:-1]
    assert (found["total"], found["limit"], found["offset"]) == (5, 2, 1)


async def test_a_page_behind_the_end_is_empty(api: Api) -> None:
    found = await page(api, offset=999_999_999)
    assert (found["items"], found["total"]) == ([], 5)


async def test_pages_can_follow_the_last_item_seen(api: Api) -> None:
    seen: list[str] = []
    before: dict[str, str] = {}
    while items := (await page(api, limit=2, **before))["items"]:
        seen += [item["prompt"] for item in items]
        before = {"before": items[-1]["id"]}
    assert seen == QUESTIONS[::-1]


async def test_an_item_has_the_question_the_answer_and_what_it_took(api: Api) -> None:
    events = await api.ask("What is a comet?", ensemble="solo", conversation_id="conv-h")
    item = (await page(api, limit=1))["items"][0]
    last = events[-1].data
    created = datetime.fromisoformat(item.pop("created_at"))
    assert created.utcoffset() == UTC.utcoffset(None)
    assert item == {
        "id": events[0].run_id,
        "prompt": "What is a comet?",
        "response": answer_of(events),
        "status": "completed",
        "conversation_id": "conv-h",
        "message_id": "message_123",
        "ensemble": "solo",
        "trace_id": events[0].data["trace_id"],
        "usage": last["usage"],
        "cost": last["cost"],
        "elapsed_ms": last["elapsed_ms"],
    }
    assert (await api.http.delete("/api/conversations/conv-h")).status_code == 204


async def test_one_item_is_the_same_with_its_agents(api: Api) -> None:
    events = await api.ask("Why is the sky blue?", conversation_id="conv-a")
    listed = (await page(api, limit=1))["items"][0]
    item = (await api.http.get(f"/history/{events[0].run_id}")).json()
    agents = item.pop("agents")
    assert item == listed
    assert {agent["name"] for agent in agents} >= {"llm-1", "llm-2"}
    for agent in agents:
        assert agent["state"] == "answered"
        assert agent["answer"]
        assert agent["model"].startswith("mock?")
        assert agent["usage"]["output_tokens"] in {20, 30}
    assert (await api.http.delete("/api/conversations/conv-a")).status_code == 204


async def test_a_run_that_failed_says_why_and_keeps_what_it_had(api: Api) -> None:
    events = await api.ask(ensemble="combiner-cut", conversation_id="conv-f")
    item = (await page(api, limit=1))["items"][0]
    assert item["status"] == "failed"
    assert item["code"] == events[-1].data["code"]
    assert item["error"] == events[-1].data["message"]
    assert item["response"] == answer_of(events) != ""
    assert (await api.http.delete("/api/conversations/conv-f")).status_code == 204


async def test_a_lesser_answer_is_marked(api: Api) -> None:
    await api.ask(ensemble="combiner-status", conversation_id="conv-d")
    item = (await page(api, limit=1))["items"][0]
    assert item["status"] == "completed"
    assert item["degraded"] is True
    assert item["answered_by"] in {"llm-1", "llm-2"}
    assert (await api.http.delete("/api/conversations/conv-d")).status_code == 204


async def test_a_run_that_goes_on_shows_what_there_is_so_far(api: Api) -> None:
    async with api.asked(ensemble="endless-answer", conversation_id="conv-r") as response:
        run_id = response.headers["x-run-id"]
        async for event in follow(response):
            if event.type == "answer.delta":
                break
        for item in ((await page(api, limit=1))["items"][0], await page(api, f"/history/{run_id}")):
            assert item["id"] == run_id
            assert item["status"] == "running"
            assert item["response"].startswith(event.data["message"])
        await api.http.post(f"/api/runs/{run_id}/cancel")
    assert (await page(api, f"/history/{run_id}"))["status"] == "cancelled"
    assert (await api.http.delete("/api/conversations/conv-r")).status_code == 204


async def test_a_run_that_was_asked_again_leaves_the_list_but_can_be_read(api: Api) -> None:
    first = (await api.ask(ensemble="both-bad", conversation_id="conv-s"))[0].run_id
    again = (await api.http.post(f"/api/runs/{first}/retry")).headers["x-run-id"]
    found = await page(api, limit=2)
    listed = [item["id"] for item in found["items"]]
    assert listed[0] == again
    assert first not in listed
    assert found["total"] == 6
    assert found["items"][0]["retry_of"] == first
    assert (await page(api, f"/history/{first}"))["superseded_by"] == again
    assert (await api.http.delete("/api/conversations/conv-s")).status_code == 204


@pytest.mark.parametrize("run_id", [NOBODY, *STRANGE_IDS])
async def test_an_unknown_item_is_404(api: Api, run_id: str) -> None:
    response = await api.http.get(f"/history/{run_id}")
    assert response.status_code == 404
    assert response.json()["error"]


@pytest.mark.parametrize("path", ["/history", "/search?query=x", "/api/conversations"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("limit", "0"),
        ("limit", "101"),
        ("limit", "-1"),
        ("limit", "ten"),
        ("limit", "1.0"),
        ("limit", ""),
        ("limit", "\u0661"),
        ("limit", "9" * 5000),
        ("offset", "-1"),
        ("offset", "x"),
        ("offset", "9" * 20),
    ],
)
async def test_a_page_that_cannot_be_is_400(api: Api, path: str, name: str, value: str) -> None:
    response = await api.http.get(path, params={"query": "x", name: value})
    assert response.status_code == 400
    (detail,) = response.json()["details"]
    assert detail["field"] == name
    assert detail["message"].startswith("must be a whole number from ")


@pytest.mark.parametrize("before", ["", "a b", "\0", "é"])
async def test_a_place_that_cannot_be_is_400(api: Api, before: str) -> None:
    response = await api.http.get("/history", params={"before": before})
    assert response.status_code == 400
    assert [each["field"] for each in response.json()["details"]] == ["before"]


# --- search ---


async def test_a_search_finds_questions_and_answers_best_first(api: Api) -> None:
    found = await page(api, "/search", query="zebras")
    assert set(prompts(found)) == {QUESTIONS[0], QUESTIONS[2]}
    assert (found["total"], found["limit"], found["offset"]) == (2, 10, 0)
    ranks = [item["rank"] for item in found["items"]]
    assert ranks == sorted(ranks, reverse=True)


async def test_a_hit_is_the_item_of_history_with_rank_and_snippet(api: Api) -> None:
    (hit,) = (await page(api, "/search", query="burrows"))["items"]
    assert isinstance(hit.pop("rank"), float)
    assert "in caves or <mark>burrows</mark>" in hit.pop("snippet")
    item = await page(api, f"/history/{hit['id']}")
    del item["agents"]
    assert hit == item


async def test_a_snippet_is_safe_to_put_into_a_page(api: Api) -> None:
    (hit,) = (await page(api, "/search", query="quicksilver"))["items"]
    assert "Is &lt;b&gt;<mark>quicksilver</mark>&lt;/b&gt; &amp; &quot;lead&quot;" in hit["snippet"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ('"zebras eat"', [2]),
        ("zebras -stripes", [2]),
        ("quicksilver or burrows", [1, 4]),
        ("zebra", [0, 2]),
        ("медведи", [3]),
        ("zebras burrows", []),
    ],
)
async def test_a_search_reads_as_on_the_web(api: Api, query: str, found: list[int]) -> None:
    hits = await page(api, "/search", query=query)
    assert sorted(prompts(hits)) == sorted(QUESTIONS[place] for place in found)
    assert hits["total"] == len(found)


async def test_a_search_has_pages(api: Api) -> None:
    one = await page(api, "/search", query="zebras", limit=1)
    other = await page(api, "/search", query="zebras", limit=1, offset=1)
    assert {*prompts(one), *prompts(other)} == {QUESTIONS[0], QUESTIONS[2]}
    assert one["total"] == other["total"] == 2


async def test_words_as_they_are_are_found_by_lang_simple(api: Api) -> None:
    assert not (await page(api, "/search", query="zebra", lang="simple"))["items"]
    assert len((await page(api, "/search", query="zebras", lang="simple"))["items"]) == 2


@pytest.mark.parametrize(
    "query",
    ["the", "is it", "?!", "-", '""', "-zebras", "*", "NEAR(", '"', "👋", "question:", "a" * 1000],
)
async def test_a_search_for_nothing_in_particular_finds_nothing(api: Api, query: str) -> None:
    found = await page(api, "/search", query=query)
    assert (found["items"], found["total"]) == ([], 0)


@pytest.mark.parametrize("query", [None, "", "  \t", "a\0b", "x" * 1001])
async def test_a_search_without_a_usable_query_is_400(api: Api, query: str | None) -> None:
    asked = {} if query is None else {"query": query}
    response = await api.http.get("/search", params=asked)
    assert response.status_code == 400
    assert [each["field"] for each in response.json()["details"]] == ["query"]


async def test_a_language_there_is_not_is_400_and_says_which_there_are(api: Api) -> None:
    response = await api.http.get("/search", params={"query": "x", "lang": "klingon"})
    assert response.status_code == 400
    (detail,) = response.json()["details"]
    assert detail["field"] == "lang"
    assert "simple, en, " in detail["message"]


async def test_after_all_that_there_was_no_bug(api: Api, archive: Process) -> None:
    assert (await page(api))["total"] == 5
    assert '"level":"error"' not in archive.err
