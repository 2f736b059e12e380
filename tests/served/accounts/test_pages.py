"""The pages for logging in and registering, over a socket."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from tests._support.accounts.visitors import PASSWORD, Visitor, code_of, visiting
from tests._support.servers.processes import Process, run_server
from tests._support.servers.services import Told

_TOKEN = re.compile(r'name="csrf_token" value="(\w+)"')


@pytest.fixture(scope="module")
def guarded(told: Told, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    folder = tmp_path_factory.mktemp("pages")
    settings = told(folder) | {"AUTH": "required"}
    with run_server(folder, "serve", "--port", "0", **settings) as process:
        yield process


@pytest.fixture
async def visitor(guarded: Process) -> AsyncIterator[Visitor]:
    async with visiting(guarded.url) as made:
        yield made


async def _open_form(visitor: Visitor, path: str) -> str:
    """Open a page as a browser does and return the token of its form."""
    page = await visitor.http.get(path)
    assert page.status_code == 200
    found = _TOKEN.search(page.text)
    assert found
    return found[1]


def _as_browser(visitor: Visitor, **headers: str) -> dict[str, str]:
    return {"Origin": str(visitor.http.base_url).rstrip("/"), **headers}


async def _submit(
    visitor: Visitor, path: str, fields: dict[str, str], headers: dict[str, str] | None = None
) -> httpx.Response:
    headers = _as_browser(visitor) if headers is None else headers
    return await visitor.http.post(path, data=fields, headers=headers)


async def test_a_visitor_registers_logs_out_and_logs_in(visitor: Visitor) -> None:
    token = await _open_form(visitor, "/web/register")
    fields = {"name": "paula", "password": PASSWORD, "email": "", "invite": ""}
    entered = await _submit(visitor, "/web/auth/register", {"csrf_token": token, **fields})
    assert (entered.status_code, entered.headers["Location"]) == (303, "/web/")
    start = await visitor.http.get("/web/")
    assert "logged in as paula" in start.text
    token = await _open_form(visitor, "/web/auth/logout")
    left = await _submit(visitor, "/web/auth/logout", {"csrf_token": token})
    assert left.headers["Location"] == "/web/login"
    assert (await visitor.http.get("/web/")).headers["Location"] == "/web/login?next=%2Fweb%2F"
    token = await _open_form(visitor, "/web/login?next=/web/auth/logout")
    fields = {"name": "paula", "password": PASSWORD, "next": "/web/auth/logout"}
    entered = await _submit(visitor, "/web/auth/login", {"csrf_token": token, **fields})
    assert entered.headers["Location"] == "/web/auth/logout"


async def test_the_code_makes_an_administrator_on_the_page(
    guarded: Process, visitor: Visitor
) -> None:
    token = await _open_form(visitor, "/web/register")
    fields = {"name": "boss", "password": PASSWORD, "invite": f" {code_of(guarded)} "}
    await _submit(visitor, "/web/auth/register", {"csrf_token": token, **fields})
    assert "with the role admin" in (await visitor.http.get("/web/")).text


async def test_a_wrong_login_shows_the_form_again_without_the_password(visitor: Visitor) -> None:
    token = await _open_form(visitor, "/web/login")
    fields = {"name": '"><script>alert(1)</script>', "password": "a-secret-that-was-typed"}
    response = await _submit(visitor, "/web/auth/login", {"csrf_token": token, **fields})
    assert response.status_code == 401
    assert 'role="alert"' in response.text
    assert "The name or the password is wrong." in response.text
    assert "<script" not in response.text
    assert "a-secret-that-was-typed" not in response.text


async def test_a_form_without_its_token_is_refused(visitor: Visitor) -> None:
    await visitor.register("wendy")
    fields = {"name": "wendy", "password": PASSWORD}
    own = _as_browser(visitor)
    for headers in (own, {"Sec-Fetch-Site": "same-origin"}, {"Referer": "http://localhost/"}):
        refused = await _submit(visitor, "/web/auth/login", fields, headers)
        assert refused.status_code == 403
        assert "lsse-session" not in refused.headers.get("set-cookie", "")
    token = await _open_form(visitor, "/web/login")
    visitor.http.cookies.clear()  # the token of another browser
    refused = await _submit(visitor, "/web/auth/login", {"csrf_token": token, **fields}, own)
    assert refused.status_code == 403
    visitor.http.cookies.clear()
    accepted = await _submit(visitor, "/web/auth/login", fields, {})
    assert accepted.status_code == 303


async def test_a_page_of_another_site_cannot_log_a_visitor_in_or_out(visitor: Visitor) -> None:
    await visitor.enter("victim")
    token = await _open_form(visitor, "/web/auth/logout")
    for path in ("/web/auth/login", "/web/auth/register", "/web/auth/logout"):
        for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
            refused = await _submit(
                visitor, path, {"csrf_token": token, "name": "mallory"}, headers
            )
            assert refused.status_code == 403
    shown = await visitor.http.get("/web/auth/logout", headers={"Sec-Fetch-Site": "cross-site"})
    assert "Log out" in shown.text
    assert "logged in as victim" in (await visitor.http.get("/web/")).text


async def test_only_local_pages_follow_a_login(visitor: Visitor) -> None:
    await visitor.register("nina")
    for value in ("//evil.example", "/\\evil.example", "https://evil.example", "/\r\nX: y"):
        fields = {"name": "nina", "password": PASSWORD, "next": value}
        entered = await _submit(visitor, "/web/auth/login", fields, {})
        assert (entered.status_code, entered.headers["Location"]) == (303, "/web/")
        visitor.http.cookies.clear()
    for encoded in ("%2f%2fevil.example", "/%5cevil", "//evil", "/%0d%0aSet-Cookie:a=b"):
        page = await visitor.http.get(f"/web/login?next={encoded}")
        assert 'name="next" value="/web/"' in page.text


async def test_pages_have_the_headers_that_protect_them(visitor: Visitor) -> None:
    for path in ("/web/login", "/web/register", "/web/"):
        headers = (await visitor.http.get(path)).headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "same-origin"
        assert headers["Cache-Control"] == "no-store"
    page = (await visitor.http.get("/web/login")).text
    assert not re.search(r"<script|<style|\sstyle=|\son\w+=", page)
    [style] = re.findall(r'href="(/web/static/[^"]+)"', page)
    sheet = await visitor.http.get(style)
    assert sheet.headers["Content-Type"].startswith("text/css")
    assert "max-age=31536000" in sheet.headers["Cache-Control"]


async def test_a_form_of_another_type_or_size_is_refused(visitor: Visitor) -> None:
    body = {"name": "x", "password": "y"}
    assert (await visitor.http.post("/web/auth/login", json=body)).status_code == 415
    large = await visitor.http.post("/web/auth/login", data={"name": "x" * 1_000_000})
    assert large.status_code == 413


async def test_a_session_cookie_of_an_ended_session_leads_to_the_login(visitor: Visitor) -> None:
    headers = {"Cookie": "lsse-session=ended"}
    assert (await visitor.http.get("/web/", headers=headers)).status_code == 303
    assert (await visitor.http.get("/web/login", headers=headers)).status_code == 200


async def test_the_address_of_a_refused_form_leads_back_to_the_form(visitor: Visitor) -> None:
    for path, place in (("login", "/web/login"), ("register", "/web/register")):
        response = await visitor.http.get(f"/web/auth/{path}")
        assert (response.status_code, response.headers["Location"]) == (303, place)


async def test_a_question_without_a_login_is_refused_in_words_for_a_visitor(
    visitor: Visitor,
) -> None:
    headers = {"Accept": "text/html"}
    refused = await visitor.http.post("/web/chat", data={"message": "Hi"}, headers=headers)
    assert refused.status_code == 401
    assert "Log in, then try again." in refused.text
    assert "Bearer" not in refused.text
    assert (await visitor.http.head("/web/chat", headers=headers)).status_code == 303
