"""Headers of all responses below `/web`: pages, errors, redirects, streams and static files."""

from __future__ import annotations

import re

import pytest

from tests._support.clients.api import Api

_HTML = {"Accept": "text/html,application/xhtml+xml"}
_SCRIPT = {"Accept": "application/json"}
_PROTECTION = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}


def _is_protected(headers: object) -> bool:
    assert hasattr(headers, "get")
    policy = headers.get("Content-Security-Policy") or ""
    has_policy = "frame-ancestors 'none'" in policy and "unsafe" not in policy
    return has_policy and all(headers.get(name) == value for name, value in _PROTECTION.items())


@pytest.mark.parametrize("accept", [_HTML, _SCRIPT, {"Accept": "text/event-stream"}])
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/web/", 200),
        ("HEAD", "/web/", 200),
        ("OPTIONS", "/web/", 200),
        ("GET", "/web", 308),
        ("GET", "/web//chat", 308),
        ("POST", "/web/", 405),
        ("DELETE", "/web/chat", 405),
        ("TRACE", "/web/runs/run_1", 405),
        ("PUT", "/web/static/pages.css", 405),
        ("POST", "/web/auth/nothing", 405),
        ("GET", "/web/nothing", 404),
        ("GET", "/web/static/nothing.css", 404),
        ("GET", "/web/runs/..%2f", 404),
        ("GET", "/web/runs/run_1/live", 404),
        ("GET", "/web/account?days=x", 400),
        ("POST", "/web/chat", 415),
        ("POST", "/web/auth/logout", 415),
    ],
)
async def test_every_response_below_web_has_the_headers_of_pages(
    api: Api, method: str, path: str, status: int, accept: dict[str, str]
) -> None:
    response = await api.http.request(method, path, headers=accept)
    assert response.status_code == status
    assert _is_protected(response.headers)
    assert response.headers["Cache-Control"] == "no-store"
    if status >= 400 and method != "HEAD":
        is_page = response.headers["Content-Type"].startswith("text/html")
        assert is_page == (accept is _HTML)
    if status == 405:
        assert method not in response.headers["Allow"]


async def test_static_files_and_live_streams_have_them_too(api: Api) -> None:
    page = await api.http.get("/web/chat", headers=_HTML)
    files = set(re.findall(r'"(/web/static/[^"]+)"', page.text))
    assert len(files) >= 5
    for path in files:
        file = await api.http.get(path)
        assert _is_protected(file.headers)
        assert file.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert re.search(r"\.[0-9a-f]{16}\.\w+$", path)
    run_id = (await api.ask(ensemble="solo"))[0].run_id
    live = await api.http.get(f"/web/runs/{run_id}/live")
    assert live.headers["Content-Type"].startswith("text/event-stream")
    assert _is_protected(live.headers)


async def test_a_redirect_stays_on_the_host_of_the_visitor(api: Api) -> None:
    for path, place in (("/web", "/web/"), ("/web?a=b", "/web/?a=b"), ("/web//chat", "/web/chat")):
        response = await api.http.get(path, headers={**_HTML, "X-Forwarded-Host": "evil.example"})
        assert response.headers["Location"] == place


async def test_other_addresses_keep_their_own_headers(api: Api) -> None:
    for path in ("/", "/api/runs/run_1", "/website", "/nothing"):
        assert "Referrer-Policy" not in (await api.http.get(path)).headers
