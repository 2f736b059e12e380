"""Sessions: created, read, renamed, deleted and listed, on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest

from tests._support.clients.api import Api, answer_of, client_of, until
from tests._support.clients.named_events import following, named_events, text_of
from tests._support.clients.strange_ids import STRANGE_IDS
from tests._support.llm.mock_stats import Upstream
from tests._support.recovery import database_faults
from tests._support.recovery.installation import Installation
from tests._support.servers.databases import Postgres
from tests._support.servers.processes import Process
from tests._support.servers.services import Start

SESSION = "/conversation/session"
SHOWN = ["session_id", "thread_id", "user_id", "session_name", "created_at", "updated_at"]


@pytest.fixture
async def api(archive: Process) -> AsyncIterator[Api]:
    async with client_of(archive.url) as client:
        yield client


def somebody() -> str:
    return f"user-{uuid4().hex}"


async def begun(api: Api, **fields: Any) -> dict[str, Any]:
    response = await api.http.post(SESSION, json=fields)
    assert response.status_code == 200, response.text
    made: dict[str, Any] = response.json()
    return made


async def asked(api: Api, message: str, **fields: Any) -> dict[str, Any]:
    body = {"message": message, "stream": False, "ensemble": "solo", **fields}
    response = await api.http.post("/conversation", json=body)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


async def shown(api: Api, session_id: str) -> dict[str, Any]:
    response = await api.http.get(f"{SESSION}/{session_id}")
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


async def history(api: Api, session_id: str) -> list[dict[str, Any]]:
    response = await api.http.get(f"{SESSION}/{session_id}/history")
    assert response.status_code == 200, response.text
    assert response.json()["session_id"] == session_id
    messages: list[dict[str, Any]] = response.json()["messages"]
    return messages


async def of_user(api: Api, user_id: str, **query: Any) -> list[str]:
    response = await api.http.get(f"/conversation/sessions/user/{user_id}", params=query)
    assert response.status_code == 200, response.text
    assert response.json().keys() - {"next"} == {"sessions"}
    return [each["session_id"] for each in response.json()["sessions"]]


# --- one session ---


async def test_a_session_is_begun_and_read(api: Api) -> None:
    user_id = somebody()
    made = await begun(api, user_id=user_id, session_name="The sea")
    assert list(made) == SHOWN
    assert made["session_id"] == made["thread_id"]
    assert (made["user_id"], made["session_name"]) == (user_id, "The sea")
    assert made["created_at"] == made["updated_at"]
    assert datetime.fromisoformat(made["created_at"]).utcoffset() is not None
    assert await shown(api, made["session_id"]) == made
    assert await history(api, made["session_id"]) == []


@pytest.mark.parametrize("body", [b"", b"{}", b'{"user_id": null, "session_name": null}'])
async def test_a_session_needs_neither_a_name_nor_a_user(api: Api, body: bytes) -> None:
    headers = {"Content-Type": "application/json"} if body else {}
    response = await api.http.post(SESSION, content=body, headers=headers)
    made = response.json()
    assert response.status_code == 200
    assert (made["user_id"], made["session_name"]) == ("anonymous", "")


async def test_name_is_another_word_for_the_sessions_name(api: Api) -> None:
    assert (await begun(api, name="The sea"))["session_name"] == "The sea"


@pytest.mark.parametrize("field", ["user_id", "session_name", "name"])
@pytest.mark.parametrize("value", ["", " ", "a\0b", "x" * 257, 7, ["x"]])
async def test_a_session_with_what_does_not_fit_is_400(api: Api, field: str, value: Any) -> None:
    response = await api.http.post(SESSION, json={field: value})
    assert response.status_code == 400
    assert response.json()["details"][0]["field"] == field


async def test_a_session_gets_another_name(api: Api) -> None:
    session_id = (await begun(api))["session_id"]
    for how in (
        {"json": {"name": "Tides 🌊"}},
        {"json": {"session_name": "Tides 🌊"}},
        {"params": {"name": "Tides 🌊"}},
        {"params": {"name": "Tides 🌊"}, "json": {}},
        {"params": {"name": "passed over"}, "json": {"name": "Tides 🌊"}},
    ):
        await api.http.patch(f"{SESSION}/{session_id}", json={"name": "Before"})
        response = await api.http.patch(f"{SESSION}/{session_id}", **how)  # type: ignore[arg-type]  # of several kinds
        assert response.status_code == 200, response.text
        assert response.json()["session_name"] == "Tides 🌊"
        assert await shown(api, session_id) == response.json()


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"json": {}},
        {"json": {"name": ""}},
        {"json": {"name": " \n"}},
        {"json": {"name": "a\0b"}},
        {"json": {"name": "x" * 201}},
        {"json": {"name": 7}},
        {"json": {"name": None}},
        {"json": {"title": "x"}},
        {"json": ["x"]},
        {"params": {"name": ""}},
        {"params": {"name": " "}},
        {"params": {"name": "a\0b"}},
        {"params": {"name": "x" * 201}},
        {"params": {"name": ""}, "json": {"name": "After"}},
    ],
)
async def test_a_name_that_does_not_fit_is_400(api: Api, how: dict[str, Any]) -> None:
    made = await begun(api, session_name="Before")
    response = await api.http.patch(f"{SESSION}/{made['session_id']}", **how)
    assert response.status_code == 400, response.text
    assert await shown(api, made["session_id"]) == made


async def test_names_given_at_once_are_one_of_them(api: Api) -> None:
    session_id = (await begun(api))["session_id"]
    names = [f"Name {number}" for number in range(8)]
    path = f"{SESSION}/{session_id}"
    done = await asyncio.gather(*(api.http.patch(path, json={"name": name}) for name in names))
    assert {each.status_code for each in done} == {200}
    assert (await shown(api, session_id))["session_name"] in names


async def test_a_deleted_session_is_nowhere_any_more(api: Api) -> None:
    user_id, word = somebody(), f"w{uuid4().hex}"
    session_id = (await asked(api, f"What is {word}?", user_id=user_id))["session_id"]
    response = await api.http.delete(f"{SESSION}/{session_id}")
    assert response.status_code == 200
    assert response.json() == {"session_id": session_id, "deleted": True}
    for path in (
        f"{SESSION}/{session_id}",
        f"{SESSION}/{session_id}/history",
        f"/api/conversations/{session_id}",
    ):
        assert (await api.http.get(path)).status_code == 404
    body = {"message": "And?", "session_id": session_id}
    assert (await api.http.post("/conversation", json=body)).status_code == 404
    assert await of_user(api, user_id) == []
    assert not (await api.http.get("/search", params={"query": word})).json()["items"]
    again = await api.http.delete(f"{SESSION}/{session_id}")
    assert (again.status_code, again.json()["code"]) == (404, "conversation_not_found")


async def test_a_session_is_deleted_while_it_is_being_answered(
    api: Api, upstream: Upstream
) -> None:
    body = {"message": "Why?", "ensemble": "endless-answer"}
    async with api.http.stream("POST", "/conversation", json=body) as response:
        events = following(response)
        async for event in events:
            if event.name == "message":
                break
        session_id = response.headers["x-conversation-id"]
        assert (await api.http.delete(f"{SESSION}/{session_id}")).status_code == 200
        last = [event async for event in events][-1]
        assert (last.name, last.data["code"]) == ("error", "cancelled")
    await until(upstream.quiet)
    assert (await api.http.get(f"{SESSION}/{session_id}")).status_code == 404


@pytest.mark.parametrize("session_id", ["conv_nobody", *STRANGE_IDS])
async def test_a_session_there_is_not_is_404(api: Api, session_id: str) -> None:
    path = f"{SESSION}/{session_id}"
    answers = [
        await api.http.get(path),
        await api.http.get(f"{path}/history"),
        await api.http.patch(path, json={"name": "x"}),
        await api.http.delete(path),
    ]
    assert {each.status_code for each in answers} == {404}
    assert {each.headers["content-type"] for each in answers} == {"application/json"}


# --- a user's sessions ---


async def test_a_users_sessions_are_the_latest_changed_first(api: Api) -> None:
    user_id = somebody()
    ids = [(await begun(api, user_id=user_id))["session_id"] for _ in range(3)]
    ids.append((await asked(api, "What is a tide?", user_id=user_id))["session_id"])
    await begun(api, user_id=somebody())
    await api.http.patch(f"{SESSION}/{ids[0]}", json={"name": "Changed"})
    whole = [ids[0], ids[3], ids[2], ids[1]]
    assert await of_user(api, user_id) == whole
    assert await of_user(api, user_id, limit=2) == whole[:2]
    assert await of_user(api, user_id, limit=2, offset=1) == whole[1:3]
    assert await of_user(api, user_id, offset=999_999_999) == []


async def test_conversations_of_no_user_are_the_owners_own(api: Api) -> None:
    made = (await begun(api))["session_id"]
    elsewhere = (await api.ask("What is a tide?", ensemble="solo"))[0].data["conversation_id"]
    named = (await begun(api, user_id="anonymous"))["session_id"]
    others = (await begun(api, user_id=somebody()))["session_id"]
    found = await of_user(api, "anonymous", limit=1000)
    assert found[:3] == [named, elsewhere, made]
    assert others not in found


@pytest.mark.parametrize(
    "user_id", ["me@example.org", "auth0|123", "a/b", "Zoë 🌊", "..", "100%", "a+b", "'; --", "%00"]
)
async def test_a_user_may_be_called_anything(api: Api, user_id: str) -> None:
    session_id = (await begun(api, user_id=user_id))["session_id"]
    quoted = quote(user_id, safe="").replace(".", "%2E")
    response = await api.http.get(f"/conversation/sessions/user/{quoted}")
    assert response.status_code == 200, response.text
    assert session_id in [each["session_id"] for each in response.json()["sessions"]]


async def test_a_user_without_sessions_has_an_empty_list(api: Api) -> None:
    assert await of_user(api, somebody()) == []


@pytest.mark.parametrize("user_id", ["%00", "a%00b", "%20", "x" * 257, ""])
async def test_what_cannot_be_a_user_is_404(api: Api, user_id: str) -> None:
    response = await api.http.get(f"/conversation/sessions/user/{user_id}")
    assert response.status_code == 404


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "limit=x", "limit=", "offset=-1", "offset=9999999999"]
)
async def test_a_page_that_does_not_fit_is_400(api: Api, query: str) -> None:
    response = await api.http.get(f"/conversation/sessions/user/me?{query}")
    assert response.status_code == 400
    assert response.json()["details"][0]["field"] == query.partition("=")[0]


# --- the messages of a session ---


async def test_history_has_the_messages_in_order(api: Api) -> None:
    first = await asked(api, "What is a tide?")
    then = await asked(api, "Who makes it?", session_id=first["session_id"])
    messages = await history(api, first["session_id"])
    assert [(each["role"], each["content"]) for each in messages] == [
        ("user", "What is a tide?"),
        ("assistant", first["response"]),
        ("user", "Who makes it?"),
        ("assistant", then["response"]),
    ]
    for message in messages:
        assert message.keys() == {"role", "content", "created_at", "run_id", "status"}


async def test_history_has_what_an_answer_is_so_far(api: Api) -> None:
    body = {"message": "Why?", "ensemble": "endless-answer"}
    async with api.http.stream("POST", "/conversation", json=body) as response:
        session_id = response.headers["x-conversation-id"]
        question = (await history(api, session_id))[0]
        assert (question["role"], question["status"]) == ("user", "running")
        events = following(response)
        async for event in events:
            if event.name == "message":
                break
        messages = await history(api, session_id)
        assert [(each["role"], each["status"]) for each in messages] == [
            ("user", "running"),
            ("assistant", "running"),
        ]
        assert messages[1]["content"].startswith(event.data["chunk"])
        await api.http.delete(f"{SESSION}/{session_id}")


async def test_history_says_what_failed(api: Api) -> None:
    body = {"message": "Why?", "ensemble": "combiner-cut"}
    response = await api.http.post("/conversation", json=body)
    events = named_events(response.content)
    question, answer = await history(api, response.headers["x-conversation-id"])
    assert question["content"] == "Why?"
    assert (answer["status"], answer["content"]) == ("failed", text_of(events))
    assert answer["error"] == events[-1].data["error"]


# --- a session is a conversation ---


async def test_what_is_said_in_a_session_is_on_every_other_address(api: Api) -> None:
    word = f"w{uuid4().hex}"
    said = await asked(api, f"What is {word}?", session_name="A word")
    session_id, pair = said["session_id"], (f"What is {word}?", said["response"])
    conversation = (await api.http.get(f"/api/conversations/{session_id}")).json()
    assert conversation["title"] == "A word"
    assert tuple(each["content"] for each in conversation["messages"]) == pair
    assert conversation["messages"] == await history(api, session_id)
    newest = (await api.http.get("/history", params={"limit": 1})).json()["items"][0]
    assert (newest["prompt"], newest["response"]) == pair
    (hit,) = (await api.http.get("/search", params={"query": word})).json()["items"]
    assert (hit["conversation_id"], hit["response"]) == (session_id, said["response"])


async def test_every_face_goes_on_with_what_another_began(api: Api) -> None:
    begun_at = (await asked(api, "What is a comet?", ensemble="wordy"))["session_id"]
    wordy = {"conversation_id": begun_at, "ensemble": "wordy"}
    chat = {"messages": [{"role": "user", "content": "And its dust?"}], **wordy}
    said = [
        answer_of(await api.ask("And its tail?", **wordy)),
        (await api.http.post("/stream", json={"prompt": "And its ice?", **wordy})).text,
        (await api.http.post("/chat", json=chat)).json()["response"],
        (await asked(api, "And its orbit?", session_id=begun_at, ensemble="wordy"))["response"],
    ]
    messages = [each["content"] for each in await history(api, begun_at)]
    assert messages[3::2] == said
    for before, answer in zip(messages[0::2], said, strict=False):
        assert f"Earlier you asked about “{before}”" in answer


async def test_a_conversation_that_began_elsewhere_is_a_session(api: Api) -> None:
    conversation_id = f"mine:{uuid4().hex}"
    await api.ask("What is a comet?", ensemble="solo", conversation_id=conversation_id)
    assert (await shown(api, conversation_id))["session_name"] == "What is a comet?"
    said = await asked(api, "And its tail?", session_id=conversation_id, user_id=somebody())
    assert said["session_id"] == conversation_id
    assert len(await history(api, conversation_id)) == 4


# --- a database that is away ---


async def _refused(api: Api, session_id: str, *, can_read: bool) -> None:
    path = f"{SESSION}/{session_id}"
    body = {"message": "And?", "session_id": session_id}
    for response in (
        await api.http.post(SESSION, json={}),
        await api.http.patch(path, json={"name": "x"}),
        await api.http.delete(path),
        await api.http.post("/conversation", json=body),
    ):
        assert response.status_code == 503, response.text
        assert response.json()["code"] == "storage_unavailable"
        assert int(response.headers["retry-after"]) > 0
    for there in (path, f"{path}/history", "/conversation/sessions/user/me"):
        assert (await api.http.get(there)).status_code == (200 if can_read else 503)


async def test_a_locked_file_is_503_and_can_be_read(start: Start) -> None:
    process = start(STORE_TIMEOUT_S="1")
    async with client_of(process.url) as api:
        session_id = (await asked(api, "What is a tide?"))["session_id"]
        with database_faults.locked(process.folder / "data" / "service.db"):
            await _refused(api, session_id, can_read=True)
        assert (await shown(api, session_id))["session_name"] == "What is a tide?"


async def test_a_database_that_is_down_is_503(
    on_postgres: Installation, postgres: Postgres
) -> None:
    process = on_postgres.serve(STORE_TIMEOUT_S="1")
    async with client_of(process.url) as api:
        session_id = (await begun(api))["session_id"]
        with database_faults.down(postgres):
            await _refused(api, session_id, can_read=False)
        await until(lambda: _is_there(api, session_id))


async def _is_there(api: Api, session_id: str) -> bool:
    return (await api.http.get(f"{SESSION}/{session_id}")).status_code == 200
