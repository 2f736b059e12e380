"""`/api/conversations`: list, read, rename, delete, export."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests._support.clients.api import Api, answer_of, client_of, events_of, follow, until
from tests._support.clients.strange_ids import STRANGE_IDS
from tests._support.llm.mock_stats import Upstream
from tests._support.servers.processes import Process

PATH = "/api/conversations"


@pytest.fixture
async def api(archive: Process) -> AsyncIterator[Api]:
    async with client_of(archive.url) as client:
        yield client


async def told(api: Api, *questions: str, ensemble: str = "solo") -> tuple[str, list[str]]:
    """Ask in a conversation of its own; returns its id and the answers."""
    conversation_id = f"conv-{uuid4().hex}"
    answers = [
        answer_of(await api.ask(each, ensemble=ensemble, conversation_id=conversation_id))
        for each in questions
    ]
    return conversation_id, answers


async def shown(api: Api, conversation_id: str) -> dict[str, Any]:
    response = await api.http.get(f"{PATH}/{conversation_id}")
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


async def export(
    api: Api, conversation_id: str, query: str = "", accept: str = "*/*"
) -> httpx.Response:
    path = f"{PATH}/{conversation_id}/export{query}"
    return await api.http.get(path, headers={"Accept": accept})


async def test_the_list_has_the_latest_changed_first(api: Api) -> None:
    one, _ = await told(api, "What is a tide?")
    other, _ = await told(api, "What is a comet?")
    await api.ask("And its tail?", ensemble="solo", conversation_id=one)
    found = (await api.http.get(PATH, params={"limit": 2})).json()
    assert [item["id"] for item in found["items"]] == [one, other]
    assert found["total"] >= 2
    assert (found["limit"], found["offset"]) == (2, 0)
    first = found["items"][0]
    assert first.keys() == {"id", "title", "created_at", "updated_at"}
    assert first["title"] == "What is a tide?"
    assert datetime.fromisoformat(first["created_at"]) < datetime.fromisoformat(first["updated_at"])


async def test_a_conversation_has_its_messages_in_order(api: Api) -> None:
    conversation_id, answers = await told(api, "What is a tide?", "Who makes it?")
    found = await shown(api, conversation_id)
    assert found["id"] == conversation_id
    assert [(each["role"], each["content"]) for each in found["messages"]] == [
        ("user", "What is a tide?"),
        ("assistant", answers[0]),
        ("user", "Who makes it?"),
        ("assistant", answers[1]),
    ]
    for message in found["messages"]:
        assert message.keys() == {"role", "content", "created_at", "run_id", "status"}
        assert message["status"] == "completed"


async def test_an_answer_that_failed_says_so_in_its_place(api: Api) -> None:
    conversation_id, _ = await told(api, "What is a tide?", ensemble="both-bad")
    messages = (await shown(api, conversation_id))["messages"]
    assert [each["role"] for each in messages] == ["user", "assistant"]
    assert messages[1]["status"] == "failed"
    assert messages[1]["error"].endswith(".")


async def test_a_conversation_gets_another_title(api: Api) -> None:
    conversation_id, _ = await told(api, "What is a tide?")
    response = await api.http.patch(f"{PATH}/{conversation_id}", json={"title": "Tides 🌊"})
    assert response.status_code == 200
    assert response.json()["title"] == "Tides 🌊"
    assert (await shown(api, conversation_id))["title"] == "Tides 🌊"
    await api.ask("And at night?", ensemble="solo", conversation_id=conversation_id)
    assert (await shown(api, conversation_id))["title"] == "Tides 🌊"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"title": ""},
        {"title": " \n"},
        {"title": "x" * 201},
        {"title": "a\0b"},
        {"title": 7},
        {"title": None},
        {"name": "x"},
    ],
)
async def test_a_title_that_does_not_fit_is_400(api: Api, body: dict[str, Any]) -> None:
    conversation_id, _ = await told(api, "What is a tide?")
    response = await api.http.patch(f"{PATH}/{conversation_id}", json=body)
    assert response.status_code == 400
    assert (await shown(api, conversation_id))["title"] == "What is a tide?"


async def test_what_is_deleted_is_nowhere_any_more(api: Api) -> None:
    word = f"w{uuid4().hex}"
    conversation_id, _ = await told(api, f"What is {word}?")
    run_id = (await shown(api, conversation_id))["messages"][0]["run_id"]
    response = await api.http.delete(f"{PATH}/{conversation_id}")
    assert (response.status_code, response.content) == (204, b"")
    for path in (
        f"{PATH}/{conversation_id}",
        f"{PATH}/{conversation_id}/export",
        f"/history/{run_id}",
        f"/api/runs/{run_id}",
        f"/api/runs/{run_id}/events",
    ):
        assert (await api.http.get(path)).status_code == 404
    assert not (await api.http.get("/search", params={"query": word})).json()["items"]
    newest = (await api.http.get("/history", params={"limit": 100})).json()["items"]
    assert run_id not in [item["id"] for item in newest]
    again = await api.http.delete(f"{PATH}/{conversation_id}")
    assert (again.status_code, again.json()["code"]) == (404, "conversation_not_found")


async def test_a_deleted_conversation_can_begin_anew_and_remembers_nothing(api: Api) -> None:
    conversation_id, _ = await told(api, "What is a tide?")
    await api.http.delete(f"{PATH}/{conversation_id}")
    await api.ask("What is a comet?", ensemble="solo", conversation_id=conversation_id)
    found = await shown(api, conversation_id)
    assert found["title"] == "What is a comet?"
    assert found["messages"][0]["content"] == "What is a comet?"


async def test_a_run_that_goes_on_is_stopped_before_its_conversation_is_deleted(
    api: Api, upstream: Upstream
) -> None:
    conversation_id = f"conv-{uuid4().hex}"
    fields: dict[str, Any] = {"ensemble": "endless-answer", "conversation_id": conversation_id}
    async with api.asked(**fields) as response:
        events = follow(response)
        async for event in events:
            if event.type == "answer.delta":
                break
        assert (await api.http.delete(f"{PATH}/{conversation_id}")).status_code == 204
        last = [event async for event in events][-1]
        assert (last.type, last.data["code"]) == ("run.failed", "cancelled")
    await until(upstream.quiet)
    assert (await api.http.get(f"{PATH}/{conversation_id}")).status_code == 404


async def test_deleting_twice_at_once_is_204_and_404(api: Api) -> None:
    conversation_id, _ = await told(api, "What is a tide?")
    path = f"{PATH}/{conversation_id}"
    both = await asyncio.gather(api.http.delete(path), api.http.delete(path))
    assert sorted(each.status_code for each in both) == [204, 404]


@pytest.mark.parametrize("query", ["", "?format=json"])
async def test_an_export_is_the_conversation_as_a_file(api: Api, query: str) -> None:
    conversation_id, _ = await told(api, "What is a tide?")
    response = await export(api, conversation_id, query)
    assert response.json() == await shown(api, conversation_id)
    assert response.headers["content-type"] == "application/json"
    disposition = response.headers["content-disposition"]
    assert disposition.startswith('attachment; filename="what-is-a-tide-2')
    assert disposition.endswith('.json"')


@pytest.mark.parametrize(
    ("query", "accept"), [("?format=markdown", "*/*"), ("", "text/markdown, */*;q=0.1")]
)
async def test_an_export_can_be_markdown(api: Api, query: str, accept: str) -> None:
    conversation_id, answers = await told(api, "What is a tide?")
    response = await export(api, conversation_id, query, accept)
    assert response.headers["content-type"] == "text/markdown; charset=utf-8"
    assert response.headers["content-disposition"].endswith('.md"')
    assert response.text.startswith("# What is a tide?\n\n")
    assert f"\n\n> {answers[0]}\n" in response.text


async def test_an_exports_name_cannot_forge_a_header(api: Api) -> None:
    conversation_id, _ = await told(api, "What is a tide?")
    title = 'a"; filename="evil.exe\r\nX-Forged: 1'
    await api.http.patch(f"{PATH}/{conversation_id}", json={"title": title})
    headers = (await export(api, conversation_id)).headers
    assert "x-forged" not in headers
    assert headers["content-disposition"].startswith(
        'attachment; filename="a-filename-evil-exe-x-forged-1-'
    )


async def test_another_form_of_export_is_400(api: Api) -> None:
    conversation_id, _ = await told(api, "What is a tide?")
    response = await export(api, conversation_id, "?format=pdf")
    assert response.status_code == 400
    assert response.json()["details"] == [
        {"field": "format", "message": "must be one of json, markdown"}
    ]


@pytest.mark.parametrize("conversation_id", ["conv-nobody", *STRANGE_IDS])
async def test_a_conversation_there_is_not_is_404(api: Api, conversation_id: str) -> None:
    path = f"{PATH}/{conversation_id}"
    answers = [
        await api.http.get(path),
        await api.http.patch(path, json={"title": "x"}),
        await api.http.delete(path),
        await api.http.get(f"{path}/export"),
    ]
    assert [each.status_code for each in answers] == [404] * 4


async def test_another_method_is_405(api: Api) -> None:
    response = await api.http.post(f"{PATH}/conv-1", json={})
    assert response.status_code == 405
    assert {"GET", "PATCH", "DELETE"} <= set(response.headers["allow"].split(", "))


async def test_after_all_that_there_was_no_bug(api: Api, archive: Process) -> None:
    assert events_of(
        (await api.http.post("/api/process", json={"message": "Hi", "message_id": "1"})).content
    )
    assert '"level":"error"' not in archive.err


async def test_no_conversation_is_listed_twice_when_one_is_changed_between_pages(
    archive: Process,
) -> None:
    user = f"user-{uuid4().hex}"
    async with client_of(archive.url) as api:
        made = [
            (await api.http.post("/conversation/session", json={"user_id": user})).json()
            for _ in range(7)
        ]
        ids = [each["session_id"] for each in made]
        for path, name, key in (
            ("/api/conversations", "items", "id"),
            (f"/conversation/sessions/user/{user}", "sessions", "session_id"),
        ):
            seen: list[str] = []
            query = "limit=3"
            while True:
                page = (await api.http.get(f"{path}?{query}")).json()
                seen += [each[key] for each in page[name]]
                if "next" not in page:
                    break
                # The last item of the page, one of it, and one that was not listed yet.
                for changed in (page[name][-1][key], page[name][0][key]):
                    await api.http.patch(f"/conversation/session/{changed}", json={"name": "x"})
                query = f"limit=3&before={page['next']}"
            assert len(seen) == len(set(seen))
            assert set(ids) <= set(seen)


@pytest.mark.parametrize("before", ["", "conv_1", "~", "1~", "x~conv_1", "1~a b", "9" * 18 + "~c"])
async def test_a_position_of_another_format_is_refused(archive: Process, before: str) -> None:
    async with client_of(archive.url) as api:
        response = await api.http.get("/api/conversations", params={"before": before})
    assert response.status_code == 400
    assert response.json()["details"][0]["field"] == "before"
