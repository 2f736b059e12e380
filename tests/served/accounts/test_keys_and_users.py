"""API keys and users over a socket: permissions, rotation, deletion, two processes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from tests._support.accounts.visitors import Visitor, code_of, visiting
from tests._support.clients.api import until
from tests._support.servers.databases import Postgres
from tests._support.servers.processes import Process, run_server
from tests._support.servers.services import Told


@pytest.fixture(scope="module")
def pair(
    told: Told, postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Process, Process]]:
    """Two services on one database, which share neither memory nor Redis."""
    folder = tmp_path_factory.mktemp("pair")
    database = {"DATABASE_URL": postgres.new_database(), "MIGRATE_ON_START": "true"}
    settings = told(folder) | database | {"AUTH": "required"}
    with (
        run_server(folder, "serve", "--port", "0", **settings) as first,
        run_server(folder, "serve", "--port", "0", **settings) as second,
    ):
        yield first, second


@pytest.fixture(scope="module")
def code(pair: tuple[Process, Process]) -> str:
    return code_of(pair[0]) if "with the code" in pair[0].err else code_of(pair[1])


@pytest.fixture
async def root(pair: tuple[Process, Process], code: str) -> AsyncIterator[Visitor]:
    """The administrator, on the first of the two services."""
    async with visiting(pair[0].url) as made:
        if (await made.log_in("root")).status_code != 200:
            await made.enter("root", invite=code)
        yield made


@pytest.fixture
async def visitors(pair: tuple[Process, Process]) -> AsyncIterator[tuple[Visitor, Visitor]]:
    """A visitor of each service."""
    async with AsyncExitStack() as stack:
        first, second = [await stack.enter_async_context(visiting(each.url)) for each in pair]
        yield first, second


async def _create_key(visitor: Visitor, **fields: object) -> dict[str, str]:
    response = await visitor.send("POST", "/api/keys", json={"name": "laptop", **fields})
    assert response.status_code == 201, response.text
    created: dict[str, str] = response.json()
    return created


def _bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def _is_refused(visitor: Visitor, key: str) -> bool:
    return (await visitor.http.get("/history", headers=_bearer(key))).status_code == 401


async def test_a_key_is_shown_once_and_is_revoked_on_every_process(
    visitors: tuple[Visitor, Visitor],
) -> None:
    first, second = visitors
    await first.enter("owner")
    created = await _create_key(first)
    second.http.cookies.clear()
    assert not await _is_refused(second, created["key"])
    listed = await first.http.get("/api/keys")
    assert created["key"] not in listed.text
    assert [each["id"] for each in listed.json()["items"]] == [created["id"]]
    revoked = await first.send("DELETE", f"/api/keys/{created['id']}")
    assert revoked.status_code == 204
    first.http.cookies.clear()
    assert await _is_refused(first, created["key"])
    await until(lambda: _is_refused(second, created["key"]))


async def test_the_list_of_keys_has_their_usage(visitors: tuple[Visitor, Visitor]) -> None:
    first, second = visitors
    await first.enter("busy")
    used, unused = await _create_key(first), await _create_key(first)
    asked = await second.http.post("/stream", json={"prompt": "Why?"}, headers=_bearer(used["key"]))
    assert asked.status_code == 200

    async def is_counted() -> bool:  # with the end of the run, which is committed after the answer
        items = (await first.http.get("/api/keys")).json()["items"]
        usage = {each["id"]: each["usage"] for each in items}
        assert all(figures["runs"] == 0 for figures in usage[unused["id"]].values())
        return all(figures["runs"] == 1 for figures in usage[used["id"]].values())

    await until(is_counted)


async def test_a_key_gives_no_scopes_that_its_creator_lacks(
    visitors: tuple[Visitor, Visitor],
) -> None:
    first, second = visitors
    await first.enter("limited")
    manager = await _create_key(first, scopes=["keys", "read"])
    headers = _bearer(manager["key"])
    for path, body in (
        ("/api/keys", {"name": "x", "scopes": ["run"]}),
        ("/api/keys", {"name": "x", "scopes": ["admin"]}),
    ):
        refused = await second.http.post(path, json=body, headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    heir = await second.http.post("/api/keys", json={"name": "x"}, headers=headers)
    assert heir.json()["scopes"] == ["keys", "read"]
    asked = await second.http.post("/stream", json={"prompt": "x"}, headers=headers)
    assert asked.status_code == 403
    strong = await _create_key(first)
    rotated = await second.http.post(f"/api/keys/{strong['id']}/rotate", headers=headers)
    assert rotated.status_code == 403
    widened = await second.http.patch(
        f"/api/keys/{manager['id']}", json={"scopes": None}, headers=headers
    )
    assert widened.json()["scopes"] == ["keys", "read"]


async def test_a_key_cannot_escape_its_limits_or_outlive_its_creator(
    visitors: tuple[Visitor, Visitor],
) -> None:
    first, second = visitors
    await first.enter("escaping")
    other = await _create_key(first)
    limited = await _create_key(first, limits={"requests": "1000/minute"})
    for method, path, body in (
        ("POST", "/api/keys", {"name": "x"}),
        ("POST", "/api/keys", {"name": "x", "limits": limited["limits"]}),
        ("PATCH", f"/api/keys/{limited['id']}", {"limits": None}),
        ("PATCH", f"/api/keys/{other['id']}", {"name": "x"}),
        ("POST", f"/api/keys/{limited['id']}/rotate", {}),
        ("POST", f"/api/keys/{other['id']}/rotate", {}),
    ):
        headers = _bearer(limited["key"])
        refused = await second.http.request(method, path, json=body, headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden"), (method, path)
    end = (datetime.now(UTC) + timedelta(hours=1)).isoformat(timespec="seconds")
    guest = await _create_key(first, expires_at=end)
    headers = _bearer(guest["key"])
    later = {"expires_at": (datetime.now(UTC) + timedelta(days=9)).isoformat()}
    for method, path, changes in (
        ("POST", "/api/keys", {"name": "x"}),
        ("POST", "/api/keys", {"name": "x", **later}),
        ("PATCH", f"/api/keys/{guest['id']}", {"expires_at": None}),
        ("PATCH", f"/api/keys/{guest['id']}", later),
        ("POST", f"/api/keys/{other['id']}/rotate", {}),
    ):
        shown = await second.http.request(method, path, json=changes, headers=headers)
        assert shown.json()["expires_at"] == guest["expires_at"], (method, path, shown.text)


async def test_a_rotated_key_is_valid_for_the_grace_period(
    visitors: tuple[Visitor, Visitor],
) -> None:
    first, second = visitors
    await first.enter("rotator")
    old = await _create_key(first, scopes=["read"], limits={"streams": 2})
    rotated = await first.send("POST", f"/api/keys/{old['id']}/rotate", json={"grace_s": 3600})
    new = rotated.json()
    assert (new["scopes"], new["limits"]) == (["read"], {"streams": 2})
    assert not await _is_refused(second, old["key"])
    assert not await _is_refused(second, new["key"])
    last = (await first.send("POST", f"/api/keys/{new['id']}/rotate")).json()
    await until(lambda: _is_refused(second, new["key"]))
    assert not await _is_refused(second, last["key"])


async def test_the_message_about_a_wrong_expiry_has_an_example(root: Visitor) -> None:
    for moment in ("2099-01-31", "30d", "2099-01-31T12:00:00", "soon", True):
        response = await root.send("POST", "/api/keys", json={"name": "x", "expires_at": moment})
        assert response.status_code == 400, response.text
        example = response.json()["error"].removesuffix(".").rpartition("such as ")[2]
        created = await _create_key(root, expires_at=example)
        assert created["expires_at"].startswith(example.removesuffix("Z"))


async def test_a_change_without_fields_changes_nothing(root: Visitor) -> None:
    created = await _create_key(root, scopes=["read"])
    changed = await root.send("PATCH", f"/api/keys/{created['id']}", json={})
    assert changed.status_code == 200, changed.text
    assert changed.json()["scopes"] == ["read"]


async def test_an_expired_key_is_refused_and_a_past_expiry_is_not_accepted(
    visitors: tuple[Visitor, Visitor],
) -> None:
    first, second = visitors
    await first.enter("expiring")
    soon = datetime.now(UTC) + timedelta(seconds=2)
    created = await _create_key(first, expires_at=soon.isoformat())
    await until(lambda: _is_refused(second, created["key"]))
    past = {"name": "x", "expires_at": "2001-01-01T00:00:00Z"}
    assert (await first.send("POST", "/api/keys", json=past)).status_code == 400


@pytest.mark.parametrize(
    "body",
    [
        {"name": "x", "limits": {"requests": "60 per minute"}},
        {"name": "x", "limits": {"unknown": 1}},
        {"name": "x", "scopes": []},
        {"name": "x", "scopes": ["everything"]},
        {"name": "x", "expires_at": "tomorrow"},
        {"name": "x", "expires_at": "2099-01-01T00:00:00"},
        {"name": ""},
        {},
    ],
)
async def test_an_unsuitable_key_is_refused(root: Visitor, body: dict[str, object]) -> None:
    assert (await root.send("POST", "/api/keys", json=body)).status_code == 400


async def test_a_change_of_nothing_changes_nothing_and_null_is_no_name(root: Visitor) -> None:
    created = await _create_key(root, scopes=["read"])
    address = f"/api/keys/{created['id']}"
    unchanged = await root.send("PATCH", address, json={})
    assert (unchanged.status_code, unchanged.json()["scopes"]) == (200, ["read"])
    assert (await root.send("PATCH", address, json={"name": None})).status_code == 400
    assert (await root.send("PATCH", "/api/users/root", json={})).status_code == 200
    assert (await root.send("PATCH", "/api/users/root", json={"role": None})).status_code == 400


async def test_keys_of_other_users_are_for_administrators(
    root: Visitor, visitors: tuple[Visitor, Visitor]
) -> None:
    first, second = visitors
    await first.enter("private")
    await second.enter("nosy")
    created = await _create_key(first)
    for method, path in (
        ("PATCH", f"/api/keys/{created['id']}"),
        ("DELETE", f"/api/keys/{created['id']}"),
        ("POST", f"/api/keys/{created['id']}/rotate"),
    ):
        body = {"name": "mine"} if method == "PATCH" else {}
        refused = await second.send(method, path, json=body)
        assert (refused.status_code, refused.json()["code"]) == (404, "key_not_found")
    assert (await second.http.get("/api/keys?user=private")).status_code == 403
    assert (await second.http.get("/api/keys?user=*")).status_code == 403
    assert (await second.http.get("/api/users")).status_code == 403
    listed = await root.http.get("/api/keys?user=private")
    assert [each["id"] for each in listed.json()["items"]] == [created["id"]]
    for_other = await root.send("POST", "/api/keys?user=private", json={"name": "given"})
    assert for_other.json()["user_id"] == created["user_id"]


async def test_a_user_cannot_give_a_key_more_than_their_own_limits(
    root: Visitor, visitors: tuple[Visitor, Visitor]
) -> None:
    first, _ = visitors
    await first.register("modest")
    change = {"limits": {"requests": "60/minute", "streams": 2}}
    assert (await root.send("PATCH", "/api/users/modest", json=change)).is_success
    await first.log_in("modest")
    for limits in ({"streams": 3}, {"requests": "61/minute"}):
        refused = await first.send("POST", "/api/keys", json={"name": "x", "limits": limits})
        assert refused.status_code == 400
    await _create_key(first, limits={"streams": 2, "requests": "1/second"})
    given = await root.send(
        "POST", "/api/keys?user=modest", json={"name": "x", "limits": {"streams": 9}}
    )
    assert given.status_code == 201


async def test_a_disabled_or_demoted_user_loses_access_on_every_process(
    root: Visitor, visitors: tuple[Visitor, Visitor]
) -> None:
    _, second = visitors
    await second.enter("suspect")
    key = (await _create_key(second))["key"]
    await root.send("PATCH", "/api/users/suspect", json={"role": "viewer"})

    async def cannot_ask() -> bool:
        response = await second.http.post("/stream", json={"prompt": "x"}, headers=_bearer(key))
        return response.status_code == 403

    await until(cannot_ask)
    await root.send("PATCH", "/api/users/suspect", json={"disabled": True})

    async def is_out() -> bool:
        with_cookie = await second.http.get("/history")
        return with_cookie.status_code == 401 and await _is_refused(second, key)

    await until(is_out)


async def test_the_last_administrator_stays(root: Visitor) -> None:
    for change in ({"role": "user"}, {"disabled": True}):
        refused = await root.send("PATCH", "/api/users/root", json=change)
        assert (refused.status_code, refused.json()["code"]) == (409, "last_admin")
    refused = await root.send("DELETE", "/api/users/root")
    assert refused.status_code == 409
    assert (await root.http.get("/api/users/root")).json()["disabled"] is False


async def test_a_deleted_user_leaves_no_data_and_no_running_run(
    root: Visitor, visitors: tuple[Visitor, Visitor]
) -> None:
    _, second = visitors
    await second.enter("leaving")
    key = _bearer((await _create_key(second))["key"])
    body = {"message": "Why?", "message_id": "m", "ensemble": "steady"}
    async with second.http.stream("POST", "/api/process", json=body, headers=key) as response:
        run_id = response.headers["X-Run-Id"]
        gone = await root.send("DELETE", "/api/users/leaving")
        assert gone.status_code == 204, gone.text
        received = b"".join([part async for part in response.aiter_raw()])
    assert b'"final": true' in received
    assert (await root.http.get("/api/users/leaving")).status_code == 404
    await until(lambda: _is_refused(second, key["Authorization"].removeprefix("Bearer ")))
    assert (await second.register("leaving")).status_code == 201
    await second.log_in("leaving")
    assert (await second.http.get("/history")).json()["total"] == 0
    assert (await second.http.get(f"/api/runs/{run_id}")).status_code == 404


async def test_the_data_of_a_deleted_user_can_be_transferred(
    root: Visitor, visitors: tuple[Visitor, Visitor]
) -> None:
    first, second = visitors
    await first.enter("giver")
    await second.enter("heir")
    asked = await first.send("POST", "/stream", json={"prompt": "About tides"})
    assert asked.status_code == 200

    async def is_transferred() -> bool:  # the end of the run is committed after its answer
        response = await root.send("DELETE", "/api/users/giver?transfer_to=heir")
        return response.status_code == 204

    await until(is_transferred)
    listed = (await second.http.get("/history")).json()
    assert [each["prompt"] for each in listed["items"]] == ["About tides"]
    assert listed["total"] == 1


async def test_guesses_on_two_processes_are_counted_together(
    pair: tuple[Process, Process],
) -> None:
    async with httpx.AsyncClient() as client:
        statuses = []
        for number in range(40):
            body = {"name": "guessed", "password": f"guess {number}"}
            url = f"{pair[number % 2].url}/api/auth/login"
            statuses.append((await client.post(url, json=body)).status_code)
    # Ten without a wait; then an attempt after 1, 2, 4 … seconds, however long this loop takes.
    assert statuses[:10] == [401] * 10
    assert statuses.count(401) < 20
    assert set(statuses) == {401, 429}
