"""The guard: every route declares a scope, and callers without it are refused."""

from __future__ import annotations

import asyncio
import base64
from typing import Any, cast
from unittest.mock import MagicMock

import pytest
from quart import Quart
from werkzeug.datastructures import Headers

from service.access.api_keys import generate_key
from service.access.principal import ANONYMOUS_OWNER, Principal
from service.access.scopes import RouteScope
from service.accounts.audit import Audit
from service.accounts.resolver import Resolver
from service.api.application import create_quart
from service.api.dependencies import ApiDependencies
from service.api.http import errors, principal
from service.api.http.principal import current_principal, needs_scope, scope_of
from service.pages import pages
from service.settings import Settings

STATIC_KEY = "a-static-key-0123456789"

# The routes that need no credential, and those that any valid one opens.
PUBLIC = {
    "/", "/docs", "/openapi.json", "/health", "/health/live", "/health/ready",
    "/api/auth/login", "/api/auth/register",
}  # fmt: skip
AUTHENTICATED = {
    "/api/me", "/v1/models", "/v1/models/<path:model>",
    "/api/auth/logout", "/api/auth/password",
    "/api/auth/sessions", "/api/auth/sessions/<web_session_id>",
}  # fmt: skip


def _service() -> Quart:
    api = MagicMock()
    return create_quart(Settings(), cast(ApiDependencies, api), pages.install)


def test_every_route_declares_the_scope_that_it_needs() -> None:
    app = _service()
    declared = {
        (rule.rule, bool(getattr(rule, "websocket", False))): scope_of(
            app.view_functions[rule.endpoint]
        )
        for rule in app.url_map.iter_rules()
    }
    public = {rule for (rule, _), scope in declared.items() if scope == "public"}
    assert {rule for rule in public if not rule.startswith("/web/")} == PUBLIC
    assert {rule for (rule, _), scope in declared.items() if scope == "authenticated"} == (
        AUTHENTICATED
    )
    assert declared["/chat", True] == "run"


def test_a_route_without_a_scope_is_an_error() -> None:
    with pytest.raises(LookupError, match="declares no scope"):
        scope_of(_service)


class _Audit:
    def __init__(self) -> None:
        self.reasons: list[object] = []

    def record(self, action: str, by: Principal, **details: object) -> None:
        assert action == "credential.refused"
        assert by.owner == ""
        self.reasons.append(details["reason"])


@pytest.fixture
def audit() -> _Audit:
    return _Audit()


@pytest.fixture
def app(audit: _Audit) -> Quart:
    """Routes of several scopes, of a service with a static key and no users."""
    made = Quart("test")
    keys = MagicMock()
    keys.find.side_effect = lambda _id: asyncio.sleep(0)  # unknown
    resolver = Resolver(keys, MagicMock(), static_key=STATIC_KEY)
    principal.install(made, resolver, cast(Audit, audit))
    errors.install(made, MagicMock())
    for path, scope in (
        ("/run", "run"),
        ("/keys", "keys"),
        ("/metrics", "metrics"),
        ("/any", "authenticated"),
        ("/public", "public"),
        ("/v1/run", "run"),
    ):
        _add(made, path, cast(RouteScope, scope))
    return made


def _add(app: Quart, path: str, scope: RouteScope) -> None:
    @needs_scope(scope)
    async def show() -> dict[str, Any]:
        caller = current_principal()
        return {"owner": caller.owner, "method": caller.method, "route": caller.route}

    app.add_url_rule(path, path, show)


async def _get(app: Quart, path: str, *headers: tuple[str, str]) -> Any:
    return await app.test_client().get(path, headers=Headers(list(headers)))


AUTHORIZED = ("Authorization", f"Bearer {STATIC_KEY}")


async def test_a_valid_credential_opens_the_routes_of_its_scopes(app: Quart) -> None:
    for path in ("/run", "/any"):
        response = await _get(app, path, AUTHORIZED)
        assert (await response.get_json()) == {
            "owner": ANONYMOUS_OWNER,
            "method": "static_key",
            "route": path,
        }


@pytest.mark.parametrize(("path", "scope"), [("/keys", "keys"), ("/metrics", "metrics")])
async def test_a_missing_scope_is_named(app: Quart, path: str, scope: str) -> None:
    response = await _get(app, path, AUTHORIZED)
    assert response.status_code == 403
    body = await response.get_json()
    assert body["code"] == "forbidden"
    assert scope in body["error"]
    assert 'error="insufficient_scope"' in response.headers["WWW-Authenticate"]


async def test_without_a_credential_a_request_is_challenged(app: Quart, audit: _Audit) -> None:
    response = await _get(app, "/run")
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="llm-sse-service"'
    assert audit.reasons == []


@pytest.mark.parametrize(
    "headers",
    [
        [("Authorization", "Bearer wrong")],
        [("X-API-Key", "wrong")],
        [("Authorization", f"Bearer {generate_key().text}")],
        [("Authorization", f"Bearer {generate_key().text[:-1]}_")],
        [("Authorization", "Bearer a.b.c")],
        [("Authorization", "Bearer wrong"), ("X-API-Key", STATIC_KEY)],
        [("Authorization", f"Basic {base64.b64encode(STATIC_KEY.encode()).decode()}")],
        [AUTHORIZED, AUTHORIZED],
        [("X-API-Key", STATIC_KEY), ("X-API-Key", STATIC_KEY)],
        [("Cookie", f"lsse-session={STATIC_KEY}")],
        [("Cookie", f"lsse-session={STATIC_KEY}; __Host-lsse-session=other")],
        [("X-API-Key", STATIC_KEY + " ")],
        [("Authorization", f"Bearer {STATIC_KEY},{STATIC_KEY}")],
        [("X-API-Key", "k" * 10_000)],
    ],
)
async def test_a_wrong_credential_is_refused_and_recorded(
    app: Quart, audit: _Audit, headers: list[tuple[str, str]]
) -> None:
    response = await _get(app, "/run", *headers)
    assert response.status_code == 401
    assert 'error="invalid_token"' in response.headers["WWW-Authenticate"]
    assert len(audit.reasons) == 1
    assert STATIC_KEY not in str(audit.reasons) + str(await response.get_json())


async def test_a_key_in_the_query_is_not_read(app: Quart) -> None:
    for name in ("api_key", "key", "access_token"):
        assert (await _get(app, f"/run?{name}={STATIC_KEY}")).status_code == 401


async def test_a_public_route_reads_no_credential(app: Quart, audit: _Audit) -> None:
    response = await _get(app, "/public", ("Authorization", "Bearer wrong"))
    assert (await response.get_json())["owner"] == ""
    assert audit.reasons == []


async def test_openai_s_api_names_its_own_code(app: Quart) -> None:
    error = (await (await _get(app, "/v1/run")).get_json())["error"]
    assert (error["type"], error["code"]) == ("invalid_request_error", "invalid_api_key")


async def test_an_unknown_address_and_a_preflight_need_no_credential(app: Quart) -> None:
    assert (await _get(app, "/nothing")).status_code == 404
    client = app.test_client()
    assert (await client.options("/run")).status_code == 200
    assert (await client.post("/run")).status_code == 405
    assert (await client.head("/run")).status_code == 401
