"""The pages of start, account and administration over a socket, for each kind of visitor."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from html import unescape
from pathlib import Path

import httpx
import pytest

from tests._support.accounts.visitors import PASSWORD, visiting
from tests._support.pages.staffed import (
    ADMIN,
    USER,
    VIEWER,
    ask,
    entering,
    serve_staffed,
    serve_with_mock,
)
from tests._support.servers.processes import Process

_SCRIPT = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def staffed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with serve_staffed(tmp_path_factory.mktemp("staffed")) as process:
        yield process


@pytest.fixture(scope="module")
def open_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A service without accounts."""
    with serve_with_mock(tmp_path_factory.mktemp("open")) as process:
        yield process


async def _read(http: httpx.AsyncClient, path: str) -> str:
    page = await http.get(path)
    assert (page.status_code, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert " style=" not in page.text  # the policy forbids it
    assert "<style" not in page.text
    return page.text


async def test_without_accounts_everything_but_accounts_is_shown(open_service: Process) -> None:
    async with visiting(open_service.url) as visitor:
        visitor.http.headers["Accept"] = "text/html"
        start = await _read(visitor.http, "/web/")
        questions = re.findall(r'href="/web/chat\?question=([^"]+)"', start)
        assert len(questions) == 4
        assert "USE_LLM_MOCK=false" in start
        assert "LLM_KEY" in start

        await ask(visitor, _SCRIPT)
        start = await _read(visitor.http, "/web/")
        assert re.search(r'<a href="/web/chat/conv_\w+">&lt;script&gt;', start)
        assert "question=" not in start

        account = await _read(visitor.http, "/web/account")
        assert "Accounts are off" in account
        assert "Create key" not in account
        assert 'aria-label="Usage"' in account
        assert f"{datetime.now(UTC):%Y-%m-%d}" in account

        admin = await _read(visitor.http, "/web/admin")
        assert "Accounts are off" in admin
        assert "without an account" in admin
        assert "role user" in admin  # of the rule
        assert "The service is healthy." in admin


async def test_the_figure_has_the_sums_of_the_usage_api(open_service: Process) -> None:
    async with visiting(open_service.url) as visitor:
        visitor.http.headers["Accept"] = "text/html"
        await ask(visitor, "Why is the sky blue?")
        json = {"Accept": "application/json"}
        usage = (await visitor.http.get("/api/usage", params={"by": "agent"}, headers=json)).json()
        for days in (7, 30, 90, 365):
            page = unescape(await _read(visitor.http, f"/web/account?days={days}"))
            for item in usage["items"]:
                tokens = f"{item['input_tokens'] + item['output_tokens']:,}"
                row = re.search(rf'<th scope="row">{item["agent"]}\b.*?</tr>', page, re.DOTALL)
                assert row
                assert f"<td>{tokens}</td>" in row[0]
                assert f"<td>${item['cost']:,.2f}</td>" in row[0]
            assert f'days={days}" aria-current="true"' in page
        for wrong in ("0", "31", "x", ""):
            refused = await visitor.http.get("/web/account", params={"days": wrong})
            assert refused.status_code == 400
            assert "days" in refused.text


async def test_an_agent_whose_server_fails_is_shown_as_not_called(open_service: Process) -> None:
    async with visiting(open_service.url) as visitor:
        visitor.http.headers["Accept"] = "text/html"
        for _ in range(6):
            await ask(visitor, "Hello?", "lopsided")
        page = await _read(visitor.http, "/web/admin")
        row = re.search(r'<tr><th scope="row">broken</th>.*?</tr>', page, re.DOTALL)
        assert row
        assert re.search(r"not called for \d+ s|the next call is a trial", row[0])
        assert "Not called, because their servers have failed" in page
        assert page.index(">broken<") < page.index(">one<")


async def test_pages_need_a_login_and_lead_back_to_themselves(staffed: Process) -> None:
    async with visiting(staffed.url) as visitor:
        visitor.http.headers["Accept"] = "text/html"
        for path in ("/web/", "/web/account?days=7", "/web/admin"):
            sent = await visitor.http.get(path)
            assert sent.status_code == 303
            assert sent.headers["Location"].startswith("/web/login?next=%2Fweb%2F")


async def test_each_role_sees_what_it_may_do(staffed: Process) -> None:
    async with entering(staffed, ADMIN) as admin:
        assert "Create key" in await _read(admin.http, "/web/account")
        page = await _read(admin.http, "/web/admin")
        assert all(f">{name}" in page for name in (ADMIN, USER, VIEWER))
    async with entering(staffed, USER) as user:
        account = await _read(user.http, "/web/account")
        assert "Create key" in account
        assert 'value="admin"' not in account  # a scope that the role does not have
        assert "Administration" not in account
        refused = await user.http.get("/web/admin")
        assert (refused.status_code, "Not allowed" in refused.text) == (403, True)
    async with entering(staffed, VIEWER) as viewer:
        account = await _read(viewer.http, "/web/account")
        assert "Create key" not in account
        assert "may not have keys" in account
        start = await _read(viewer.http, "/web/")
        assert 'class="button" href="/web/chat"' not in start
        assert "question=" not in start
        assert "not ask questions" in start


async def test_limits_are_shown_with_what_remains(staffed: Process) -> None:
    async with entering(staffed, USER) as user:
        await ask(user, "Why?")
        json = {"Accept": "application/json"}
        limits = (await user.http.get("/api/me", headers=json)).json()["limits"]
        page = await _read(user.http, "/web/account")
        assert {each["kind"] for each in limits} == {"requests", "tokens", "cost_usd"}
        tokens = next(each for each in limits if each["kind"] == "tokens")
        assert "900,000 tokens per day" in page
        assert f"{tokens['remaining']:,.0f} of 900,000" in page
        assert "1,000 requests per minute" in page


async def test_keys_of_others_are_neither_shown_nor_changed(staffed: Process) -> None:
    async with entering(staffed, ADMIN) as admin, entering(staffed, USER) as user:
        created = await admin.send("POST", "/api/keys", json={"name": f"of root {_SCRIPT}"})
        key = created.json()
        own = await _read(admin.http, "/web/account")
        assert key["id"] in own
        assert "of root &lt;script&gt;" in own
        assert key["key"] not in own  # is shown once, in the response
        assert key["id"] not in await _read(user.http, "/web/account")
        for method, path in (("DELETE", ""), ("POST", "/rotate"), ("PATCH", "")):
            body = {"json": {"name": "mine"}} if method == "PATCH" else {}
            stolen = await user.send(method, f"/api/keys/{key['id']}{path}", **body)
            assert stolen.status_code == 404


async def test_an_action_of_a_page_needs_its_token(staffed: Process) -> None:
    async with entering(staffed, USER) as user:
        page = await _read(user.http, "/web/account")
        found = re.search(r'<meta name="csrf-token" content="(\w+)">', page)
        assert found
        for headers, status in (
            ({}, 403),
            ({"X-CSRF-Token": "0" * 64}, 403),
            ({"X-CSRF-Token": found[1]}, 201),
            ({"X-CSRF-Token": found[1], "Origin": "https://evil.example"}, 403),
        ):
            asked = await user.http.post("/api/keys", json={"name": "a key"}, headers=headers)
            assert asked.status_code == status


async def test_the_states_of_keys_are_shown_in_words(staffed: Process) -> None:
    async with entering(staffed, USER) as user:
        first = (await user.send("POST", "/api/keys", json={"name": "rotating"})).json()
        rotated = await user.send("POST", f"/api/keys/{first['id']}/rotate", json={"grace_s": 900})
        page = await _read(user.http, "/web/account")
        old = re.search(rf"{first['id']}-…</code>\s*([^<]*)", page)
        new = re.search(rf"{rotated.json()['id']}-…</code>\s*([^<]*)", page)
        assert old
        assert new
        assert (old[1].strip(), new[1].strip()) == ("replaced, still valid until", "valid")


async def test_the_static_key_and_a_key_of_a_user_read_the_page(tmp_path: Path) -> None:
    with serve_with_mock(tmp_path, API_KEY="a-static-key-0123456789") as process:
        headers = {"Accept": "text/html", "X-API-Key": "a-static-key-0123456789"}
        async with httpx.AsyncClient(base_url=process.url, headers=headers) as http:
            page = await _read(http, "/web/account")
            assert "belongs to no user" in page
            assert "Create key" not in page
            assert 'aria-label="Usage"' in page


async def test_the_audit_log_is_filtered_and_shown_in_parts(staffed: Process) -> None:
    async with entering(staffed, ADMIN) as admin:
        for number in range(52):
            await admin.send("POST", "/api/keys", json={"name": f"key {number}"})
        filtered = f"/web/admin?action=key.created&actor={ADMIN}&from=&to="
        page = await _read(admin.http, filtered)
        assert page.count("<td>key.created</td>") == 50
        assert "<td>login.succeeded</td>" not in page
        earlier = re.search(r'<a href="([^"]+)">Earlier entries</a>', page)
        assert earlier
        rest = await _read(admin.http, unescape(earlier[1]))
        assert 2 <= rest.count("<td>key.created</td>") <= 50
        assert "Newest entries" in rest
        assert "No entry matches." in await _read(admin.http, "/web/admin?actor=nobody")
        for wrong in ("from=yesterday", "to=2026-02-30", "before=x", "actor=%00"):
            assert (await admin.http.get(f"/web/admin?{wrong}")).status_code == 400
        keys = await _read(admin.http, "/web/account")
        older = re.search(r'<a href="([^"]+)">Older keys</a>', keys)
        assert older
        assert "Newer keys" in await _read(admin.http, unescape(older[1]))


async def test_a_web_session_is_listed_and_the_password_form_names_its_user(
    staffed: Process,
) -> None:
    async with entering(staffed, USER) as first, entering(staffed, USER) as second:
        page = await _read(first.http, "/web/account")
        assert "(this browser)" in page
        others = re.findall(r'data-call="DELETE (/api/auth/sessions/[^"]+)"', page)
        assert others
        for each in others:
            assert (await first.send("DELETE", each)).status_code == 204
        gone = await second.http.get("/web/account")
        assert gone.headers["Location"].startswith("/web/login")
        assert 'autocomplete="username"' in page
        assert PASSWORD not in page
