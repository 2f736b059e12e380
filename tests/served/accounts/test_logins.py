"""Registration, logins, sessions and cookies over a socket."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from tests._support.accounts.visitors import PASSWORD, Visitor, code_of, visiting
from tests._support.clients.api import until
from tests._support.servers.processes import Process, run_server
from tests._support.servers.services import Told


@pytest.fixture(scope="module")
def guarded(told: Told, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A service with accounts, and its administrator `root`."""
    folder = tmp_path_factory.mktemp("guarded")
    settings = told(folder) | {"AUTH": "required", "TRUSTED_PROXIES": "127.0.0.1"}
    with run_server(folder, "serve", "--port", "0", **settings) as process:
        body = {"name": "root", "password": PASSWORD, "invite": code_of(process)}
        response = httpx.post(f"{process.url}/api/auth/register", json=body)
        assert response.json()["role"] == "admin", response.text
        yield process


@pytest.fixture
async def visitor(guarded: Process) -> AsyncIterator[Visitor]:
    async with visiting(guarded.url) as made:
        yield made


@pytest.fixture
async def root(guarded: Process) -> AsyncIterator[Visitor]:
    async with visiting(guarded.url) as made:
        assert (await made.log_in("root")).status_code == 200
        yield made


async def test_the_code_for_the_first_administrator_works_once_and_is_in_no_log_line(
    guarded: Process, visitor: Visitor
) -> None:
    refused = await visitor.register("second", invite=code_of(guarded))
    assert (refused.status_code, refused.json()["code"]) == (403, "invite_refused")
    lines = [line for line in guarded.err.splitlines() if line.startswith("{")]
    assert lines
    assert not [line for line in lines if code_of(guarded) in line]
    assert guarded.err.count(code_of(guarded)) == 1


async def test_a_registered_user_can_log_in_and_use_the_service(visitor: Visitor) -> None:
    await visitor.enter("alice", email="alice@example.com")
    asked = await visitor.send("POST", "/stream", json={"prompt": "Why?"})
    assert asked.status_code == 200
    listed = await visitor.http.get("/history")
    assert listed.json()["total"] == 1
    by_address = await visitor.http.post(
        "/api/auth/login", json={"email": "Alice@Example.com", "password": PASSWORD}
    )
    assert by_address.status_code == 200


async def test_a_viewer_reads_and_starts_nothing(root: Visitor, visitor: Visitor) -> None:
    invited = await root.send("POST", "/api/users", json={"role": "viewer"})
    assert invited.status_code == 201
    await visitor.enter("watcher", invite=invited.json()["invite"])
    assert (await visitor.http.get("/history")).status_code == 200
    asked = await visitor.send("POST", "/stream", json={"prompt": "Why?"})
    assert (asked.status_code, asked.json()["code"]) == (403, "forbidden")


async def test_over_plain_http_the_cookies_are_not_readable_by_scripts_and_sites(
    visitor: Visitor,
) -> None:
    await visitor.register("cora")
    cookies = (await visitor.log_in("cora")).headers.get_list("set-cookie")
    assert {each.partition("=")[0] for each in cookies} == {"lsse-session", "lsse-device"}
    for cookie in cookies:
        assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= set(cookie.split("; "))
        assert "Secure" not in cookie
        assert "Domain" not in cookie


async def test_behind_https_the_cookies_are_secure_and_belong_to_the_host(
    visitor: Visitor,
) -> None:
    await visitor.register("hosted")
    response = await visitor.http.post(
        "/api/auth/login",
        json={"name": "hosted", "password": PASSWORD},
        headers={"X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.9"},
    )
    session, _ = response.headers.get_list("set-cookie")
    assert session.startswith("__Host-lsse-session=")
    assert {"Secure", "HttpOnly", "SameSite=Lax", "Path=/"} <= set(session.split("; "))
    value = session.partition("=")[2].partition(";")[0]
    forwarded = {"X-Forwarded-Proto": "https"}
    for name, status in (("__Host-lsse-session", 200), ("lsse-session", 401)):
        headers = {"Cookie": f"{name}={value}", **forwarded}
        assert (await visitor.http.get("/history", headers=headers)).status_code == status


async def test_a_login_replaces_the_token_of_the_session(visitor: Visitor) -> None:
    await visitor.enter("rotating")
    first = visitor.http.cookies["lsse-session"]
    await visitor.log_in("rotating")
    assert visitor.http.cookies["lsse-session"] != first
    stale = await visitor.http.get("/history", headers={"Cookie": f"lsse-session={first}"})
    assert stale.status_code == 401
    planted = {"Cookie": "lsse-session=chosen-by-an-attacker-0123456789"}
    response = await visitor.http.post(
        "/api/auth/login", json={"name": "rotating", "password": PASSWORD}, headers=planted
    )
    assert "chosen" not in str(response.headers)


async def test_a_change_with_the_cookie_needs_the_token_against_csrf(visitor: Visitor) -> None:
    await visitor.enter("forged")
    for headers in ({}, {"X-CSRF-Token": "0" * 64}, {"X-CSRF-Token": "%c3%a9"}):
        for path in ("/stream", "/api/keys", "/api/auth/logout", "/v1/chat/completions"):
            refused = await visitor.http.post(path, json={"prompt": "x"}, headers=headers)
            assert refused.status_code == 403, path
            assert "csrf" in refused.text
    assert (await visitor.http.get("/history")).status_code == 200
    assert (await visitor.send("POST", "/api/auth/logout")).status_code == 204
    assert (await visitor.http.get("/history")).status_code == 401


async def test_the_token_against_csrf_of_another_session_is_refused(
    guarded: Process, visitor: Visitor
) -> None:
    await visitor.enter("mixed")
    async with visiting(guarded.url) as other:
        await other.log_in("mixed")
        refused = await visitor.send(
            "POST", "/api/keys", json={"name": "x"}, headers={"X-CSRF-Token": other.csrf_token}
        )
        assert refused.json()["code"] == "csrf_token_missing"


async def test_sessions_are_listed_without_their_tokens_and_can_be_ended(
    guarded: Process, visitor: Visitor
) -> None:
    await visitor.enter("many")
    async with visiting(guarded.url) as other:
        await other.log_in("many")
        listed = (await visitor.http.get("/api/auth/sessions")).json()
        assert [each["current"] for each in listed["items"]].count(True) == 1
        assert len(listed["items"]) == 2
        assert visitor.http.cookies["lsse-session"] not in json.dumps(listed)
        [ended] = [each["id"] for each in listed["items"] if not each["current"]]
        assert (await visitor.send("DELETE", f"/api/auth/sessions/{ended}")).status_code == 204
        assert (await other.http.get("/history")).status_code == 401
    again = await visitor.send("DELETE", f"/api/auth/sessions/{ended}")
    assert (again.status_code, again.json()["code"]) == (404, "session_not_found")


async def test_a_session_of_another_user_cannot_be_ended(root: Visitor, visitor: Visitor) -> None:
    await visitor.enter("intruder")
    [session] = (await root.http.get("/api/auth/sessions")).json()["items"][:1]
    refused = await visitor.send("DELETE", f"/api/auth/sessions/{session['id']}")
    assert refused.status_code == 404
    assert (await root.http.get("/api/users")).status_code == 200


async def test_a_new_password_ends_the_other_sessions(guarded: Process, visitor: Visitor) -> None:
    await visitor.enter("careful")
    async with visiting(guarded.url) as other:
        await other.log_in("careful")
        change = {"current_password": "wrong", "new_password": "a much better one"}
        wrong = await visitor.send("POST", "/api/auth/password", json=change)
        assert (wrong.status_code, wrong.json()["code"]) == (403, "wrong_password")
        change["current_password"] = PASSWORD
        assert (await visitor.send("POST", "/api/auth/password", json=change)).status_code == 204
        assert (await other.http.get("/history")).status_code == 401
        assert (await visitor.http.get("/history")).status_code == 200
        assert (await other.log_in("careful")).status_code == 401
        assert (await other.log_in("careful", "a much better one")).status_code == 200


async def test_unknown_wrong_and_disabled_cannot_be_told_apart(
    root: Visitor, visitor: Visitor
) -> None:
    for name in ("active", "retired"):
        await visitor.register(name)
    disabled = await root.send("PATCH", "/api/users/retired", json={"disabled": True})
    assert disabled.json()["disabled"]
    seen = set()
    for name, password in (
        ("nobody-at-all", PASSWORD),
        ("active", "a wrong password"),
        ("retired", PASSWORD),
        ("active", "x" * 2_000),
        ("user:with/strange\x7fname", PASSWORD),
    ):
        response = await visitor.log_in(name, password)
        body = {key: value for key, value in response.json().items() if not key.endswith("_id")}
        names = frozenset(response.headers) - {"content-length", "date"}
        seen.add((response.status_code, json.dumps(body), names))
    assert len(seen) == 1
    assert next(iter(seen))[0] == 401


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"name": "bad name"}, 400, "bad_request"),
        ({"name": "anonymous"}, 400, "bad_request"),
        ({"password": "short"}, 400, "bad_request"),
        ({"password": "newcomer"}, 400, "bad_request"),
        ({"password": "nul\0nulnul"}, 400, "bad_request"),
        ({"email": "nonsense"}, 400, "bad_request"),
        ({"invite": "unknown"}, 403, "invite_refused"),
        ({"name": "ROOT"}, 409, "name_taken"),
        ({"role": "admin"}, 400, "bad_request"),
    ],
)
async def test_an_unsuitable_registration_is_refused(
    visitor: Visitor, fields: dict[str, str], status: int, code: str
) -> None:
    response = await visitor.register(**{"name": "newcomer", **fields})
    assert (response.status_code, response.json()["code"]) == (status, code)


async def test_a_lone_surrogate_in_a_password_is_refused(visitor: Visitor) -> None:
    body = b'{"name": "surrogate", "password": "correct \\ud800 horse"}'
    headers = {"Content-Type": "application/json"}
    response = await visitor.http.post("/api/auth/register", content=body, headers=headers)
    assert response.status_code == 400
    assert "incomplete" in response.text


async def test_guessing_is_slowed_down_for_the_account_and_not_for_a_known_browser(
    guarded: Process, visitor: Visitor
) -> None:
    await visitor.enter("target")
    await visitor.send("POST", "/api/auth/logout")
    async with visiting(guarded.url) as stranger:

        async def is_refused() -> bool:
            response = await stranger.log_in("target", "a guess")
            assert response.status_code in (401, 429)
            return response.status_code == 429

        await until(is_refused)
        elsewhere = {"X-Forwarded-For": "198.51.100.77"}
        body = {"name": "target", "password": PASSWORD}
        spread = await stranger.http.post("/api/auth/login", json=body, headers=elsewhere)
        assert spread.status_code in (200, 429)  # after a wait of a second an attempt is possible
    assert (await visitor.log_in("target")).status_code == 200


async def test_registration_can_be_closed_and_by_invitation_only(
    told: Told, tmp_path: Path
) -> None:
    for mode, code in (("closed", "registration_closed"), ("invite", "invite_required")):
        folder = tmp_path / mode
        folder.mkdir()
        settings = told(folder) | {"AUTH": "required", "REGISTRATION": mode}
        with run_server(folder, "serve", "--port", "0", **settings) as process:
            async with visiting(process.url) as visitor:
                refused = await visitor.register("alice")
                assert (refused.status_code, refused.json()["code"]) == (403, code)
                await visitor.enter("alice", invite=code_of(process))
                invited = await visitor.send("POST", "/api/users", json={"role": "user"})
                assert (await visitor.register("bob", invite=invited.json()["invite"])).is_success
                assert (await visitor.register("eve", invite=invited.json()["invite"])).is_error


async def test_without_accounts_their_addresses_state_how_to_turn_them_on(
    service: Process,
) -> None:
    async with visiting(service.url) as visitor:
        for method, path in (
            ("POST", "/api/auth/register"),
            ("POST", "/api/auth/login"),
            ("POST", "/api/auth/logout"),
            ("GET", "/api/auth/sessions"),
            ("GET", "/api/users"),
            ("GET", "/api/keys"),
        ):
            response = await visitor.http.request(method, path)
            assert (response.status_code, response.json()["code"]) == (409, "accounts_off")
            assert "AUTH=required" in response.json()["error"]
        page = await visitor.http.get("/web/login")
        assert page.status_code == 200
        assert "Accounts are off" in page.text
    assert "administrator" not in service.err
