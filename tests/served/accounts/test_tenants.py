"""Two users of one service: no address shows or changes anything of the other one.

The addresses are those of `/openapi.json`, so that a new one is tested without a change here.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import httpx
import pytest

from tests._support.accounts.issuer import AUDIENCE, ISSUER, SECRET, make_claims, make_hs256_token
from tests._support.accounts.rows import AccountRows, TestUser
from tests._support.accounts.tenants import Call, Tenant, list_calls, make_data, make_unknown
from tests._support.patience import PATIENCE_S
from tests._support.servers.databases import Postgres
from tests._support.servers.processes import Process, run_server
from tests._support.servers.services import Told

_VOLATILE = re.compile(r"^(date|x-request-id|x-trace-id|traceresponse|x-run-id|content-length)$")
_ISSUED = {"JWT_SECRET": SECRET, "JWT_ISSUER": ISSUER, "JWT_AUDIENCE": AUDIENCE}
_WORDS = ("zebrafish", "kingfisher")


def _make_headers(tenant: Tenant, credential: str) -> dict[str, str]:
    """Return the headers of a request with the key of a user, or with a token of an issuer."""
    if credential == "key":
        return tenant.user.headers
    token = make_hs256_token(claims=make_claims(sub=tenant.user.id))
    return {"Authorization": f"Bearer {token}"}


@dataclass(frozen=True)
class _Shared:
    """A service, its users, and its description."""

    process: Process
    tenants: tuple[Tenant, Tenant]
    document: Mapping[str, Any]

    def client(self, tenant: Tenant, credential: str = "key") -> httpx.Client:
        headers = _make_headers(tenant, credential)
        return httpx.Client(base_url=self.process.url, headers=headers, timeout=PATIENCE_S)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def shared(
    request: pytest.FixtureRequest, told: Told, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[_Shared]:
    folder = tmp_path_factory.mktemp("tenants")
    url = f"sqlite:///{folder}/service.db"
    if request.param == "postgresql":
        postgres: Postgres = request.getfixturevalue("postgres")
        url = postgres.new_database()
    settings = {"DATABASE_URL": url, "MIGRATE_ON_START": "true", "AUTH": "required"}
    settings = {**told(folder), **settings, **_ISSUED}
    with run_server(folder, "serve", "--port", "0", **settings) as process:
        yield _Shared(process, _make_tenants(url, process.url), _read_document(process.url))


def _make_tenants(database_url: str, url: str) -> tuple[Tenant, Tenant]:
    found = []
    for word in _WORDS:
        with httpx.Client(base_url=url, timeout=PATIENCE_S) as browser:
            login = {"name": f"tenant-{word[0]}", "password": "correct horse battery"}
            registered = browser.post("/api/auth/register", json=login)
            assert registered.status_code == 201, registered.text
            user_id = registered.json()["id"]
            assert browser.post("/api/auth/login", json=login).status_code == 200
            session = browser.get("/api/auth/sessions").json()["items"][0]["id"]
        key = asyncio.run(AccountRows(database_url).add_key(user_id))
        user = TestUser(user_id, login["name"], key)
        with httpx.Client(base_url=url, headers=user.headers, timeout=PATIENCE_S) as client:
            found.append(make_data(client, user, word, session))
    return found[0], found[1]


def _read_document(url: str) -> Mapping[str, Any]:
    document: Mapping[str, Any] = httpx.get(f"{url}/openapi.json").json()
    return document


def _pairs(shared: _Shared) -> list[tuple[Tenant, Tenant]]:
    first, second = shared.tenants
    return [(first, second), (second, first)]


def _pairs_with_credentials(shared: _Shared) -> list[tuple[Tenant, Tenant, str]]:
    """Return the pairs, the first user with a key and the second one with a token."""
    kinds = ("key", "token")
    return [(*pair, kind) for pair, kind in zip(_pairs(shared), kinds, strict=True)]


def _list_pairs_of_calls(shared: _Shared, other: Tenant) -> list[tuple[Call, Call]]:
    """Return each request twice: with ids of `other`, and with ids that do not exist."""
    existing = list_calls(shared.document, other.ids, other.word)
    unknown = list_calls(shared.document, make_unknown(other.ids), "nonexistentword")
    return list(zip(existing, unknown, strict=True))


def _look(client: httpx.Client, tenant: Tenant) -> list[Any]:
    """Return all that a tenant sees of the own data; usage may rise meanwhile."""
    paths = [
        f"/api/runs/{tenant.ids['run_id']}",
        f"/history/{tenant.ids['run_id']}",
        f"/api/conversations/{tenant.ids['conversation_id']}",
        f"/v1/responses/{tenant.ids['response_id']}",
        f"/conversation/session/{tenant.ids['session_id']}/history",
        f"/search?query={tenant.word}&limit=100",
    ]
    answers = [client.get(path) for path in paths]
    assert {each.status_code for each in answers} == {200}
    return [each.json() for each in answers]


def _normalize(answer: httpx.Response, call: Call, other: Tenant) -> tuple[Any, ...]:
    """Return what a client can compare of a response, without ids of the request and times."""
    text = answer.text
    for fact in ("request_id", "trace_id"):
        text = re.sub(rf'"{fact}": ?"[^"]*"', f'"{fact}": ""', text)
    for name, value in [*other.ids.items(), *make_unknown(other.ids).items()]:
        text = text.replace(value, f"<{name}>") if name != "model" else text
    headers = {name: value for name, value in answer.headers.items() if not _VOLATILE.match(name)}
    return answer.status_code, sorted(headers), text if answer.is_error else ""


def test_no_address_crosses_from_one_user_to_the_other(shared: _Shared) -> None:
    for caller, other, credential in _pairs_with_credentials(shared):
        with shared.client(caller, credential) as client, shared.client(other) as owner:
            assert client.get("/api/me").json()["user_id"] == caller.user.id
            before = _look(owner, other)
            for call, unknown in _list_pairs_of_calls(shared, other):
                answer, expected = call.send(client), unknown.send(client)
                where = f"{call.method} {call.path}"
                assert answer.status_code < 500, (where, answer.text)
                if call != unknown:  # it names a resource
                    shown = _normalize(answer, call, other)
                    assert shown == _normalize(expected, unknown, other), where
                if call.query.get("query") != other.word:
                    assert other.word not in answer.text + str(answer.headers), where
            assert _look(owner, other) == before


def test_lists_and_totals_count_own_rows_only(shared: _Shared) -> None:
    for caller, other in _pairs(shared):
        with shared.client(caller) as client:
            found = client.get("/search", params={"query": other.word}).json()
            assert (found["total"], found["items"]) == (0, [])
            history = client.get("/history", params={"limit": 100}).json()
            assert history["total"] == len(history["items"])
            assert other.word not in json.dumps(history)
            listed = client.get("/api/conversations", params={"limit": 100}).json()
            assert listed["total"] == len(listed["items"])
            assert other.word not in json.dumps(listed)
            usage = client.get("/api/usage", params={"by": "user,key"}).json()
            assert {each["user"] for each in usage["items"]} == {caller.user.id}
            assert {each["key"] for each in usage["items"]} <= {caller.user.key.id, ""}


def test_an_idempotency_key_belongs_to_its_owner(shared: _Shared) -> None:
    body = {"message": "The same question", "message_id": "m"}
    runs = []
    for tenant in (*shared.tenants, *shared.tenants):
        with shared.client(tenant) as client:
            answer = client.post("/api/process", json=body, headers={"Idempotency-Key": "same"})
            assert answer.status_code == 200
            runs.append(answer.headers["X-Run-Id"])
    assert runs[0] != runs[1]
    assert runs[:2] == runs[2:]


def test_a_stream_of_another_user_cannot_be_resumed(shared: _Shared) -> None:
    for caller, other in _pairs(shared):
        unknown = make_unknown(other.ids)
        with shared.client(caller) as client:
            answers = [
                client.post(
                    "/api/process",
                    json={"message": "A question", "message_id": "m"},
                    headers={"Last-Event-ID": f"{ids['run_id']}-1"},
                )
                for ids in (other.ids, unknown)
            ]
        assert answers[0].status_code == answers[1].status_code == 404
        assert answers[0].json()["error"] == answers[1].json()["error"]


def test_a_conversation_of_another_user_is_no_context(shared: _Shared) -> None:
    """With the id of another user's conversation, models receive the same as with a new one."""
    for number, (caller, other) in enumerate(_pairs(shared)):
        with shared.client(other) as owner:
            _ask(owner, f"taken-{number}", f"Remember {other.word} for all later questions.")
            longer = _ask(owner, f"taken-{number}", "Hello")
        with shared.client(caller) as client:
            taken, new = (_ask(client, f"{name}-{number}", "Hello") for name in ("taken", "new"))
        assert taken == new < longer


def test_a_conversation_of_another_user_is_no_context_on_a_socket(shared: _Shared) -> None:
    for caller, other, credential in _pairs_with_credentials(shared):
        conversation = f"socket-{credential}"
        with shared.client(other) as owner:
            _ask(owner, conversation, f"Remember {other.word} for all later questions.")
            longer = _ask(owner, conversation, "Hello")
            before = owner.get(f"/api/conversations/{conversation}").raise_for_status().json()
        headers = _make_headers(caller, credential)
        found = []
        for name in (conversation, f"new-{conversation}"):
            asyncio.run(_ask_on_socket(shared.process.url, headers, name))
            with shared.client(caller) as client:
                newest = client.get("/history", params={"limit": 1}).json()["items"][0]
                found.append(_count_tokens(client, newest["id"]))
        assert found[0] == found[1] < longer
        with shared.client(other) as owner:
            assert owner.get(f"/api/conversations/{conversation}").json() == before


async def _ask_on_socket(url: str, headers: Mapping[str, str], conversation: str) -> None:
    """Ask a question on the WebSocket, and wait for the end of the answer."""
    messages = [{"role": "user", "content": "Hello"}]
    question = {"messages": messages, "conversation_id": conversation, "ensemble": "wordy"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.ws_connect(f"{url}/chat") as socket,
    ):
        await socket.send_json(question)
        while "token" in (message := await socket.receive_json(timeout=PATIENCE_S)):
            pass
        assert message["done"] == "true"


def _ask(client: httpx.Client, conversation: str, text: str) -> int:
    """Ask a question and return the number of tokens that the agent received."""
    body = {"message": text, "message_id": "m", "conversation_id": conversation}
    answer = client.post("/api/process", json={**body, "ensemble": "wordy"})
    assert answer.status_code == 200, answer.text
    return _count_tokens(client, answer.headers["X-Run-Id"])


def _count_tokens(client: httpx.Client, run_id: str) -> int:
    """Return the number of tokens that the agents of a run received."""
    run = client.get(f"/api/runs/{run_id}").json()
    return sum(each["usage"]["input_tokens"] for each in run["agents"])
