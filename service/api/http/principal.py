"""The caller of a request, resolved once by a guard in front of every handler.

Each route declares the scope that it needs: an `Operation` has it, other handlers have it from
`needs_scope`. The guard reads it, so that no handler can forget the check. Handlers pass the
`Principal` on explicitly: nothing below `service/api/` reads it from the request.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final, TypeVar

from quart import Quart, Response, g, has_request_context, request, websocket
from quart.wrappers.base import BaseRequestWebsocket

from service.access.credentials import (
    Credential,
    CredentialError,
    PresentedValues,
    find_bearers,
)
from service.access.principal import ANONYMOUS, UNAUTHENTICATED, Principal
from service.access.scopes import RouteScope, is_allowed
from service.accounts.audit import Audit
from service.accounts.resolver import Resolver
from service.api.middleware.cookies import SESSION, check_csrf
from service.api.openapi.operation import RouteUse, operation
from service.errors import RequestError

CLOSE_CODES: Final[Mapping[str, int]] = {"unauthorized": 4401, "forbidden": 4403}
"""The close codes of a WebSocket by error code."""

_REALM = 'Bearer realm="llm-sse-service"'
_CHAT_PROTOCOL = "chat"
_ATTRIBUTE = "needed_scope"
_USE = "counted_use"

Handler = TypeVar("Handler", bound=Callable[..., Any])


def install(app: Quart, resolver: Resolver | None, audit: Audit) -> None:
    """Resolve the principal of every request and WebSocket handshake of `app`.

    Without a `resolver` (AUTH=off) every caller is the anonymous one.
    """
    guard = Guard(app, resolver, audit)
    app.before_request(guard.check_request)
    app.before_websocket(guard.check_handshake)


def needs_scope(scope: RouteScope, use: RouteUse = "free") -> Callable[[Handler], Handler]:
    """Declare the scope of a handler without an `Operation`, and its use of limits.

    Such a handler serves a WebSocket, or a page.
    """

    def declare(handler: Handler) -> Handler:
        setattr(handler, _ATTRIBUTE, scope)
        setattr(handler, _USE, use)
        return handler

    return declare


def scope_of(handler: Callable[..., Any]) -> RouteScope:
    """Return the scope that a handler declares. Raises LookupError if it declares none."""
    described = operation(handler)
    scope: RouteScope | None = described.scope if described else getattr(handler, _ATTRIBUTE, None)
    if scope is None:
        raise LookupError(f"{handler.__qualname__} declares no scope")
    return scope


def use_of(handler: Callable[..., Any]) -> RouteUse:
    """Return what the limits of a handler count, "free" for nothing."""
    described = operation(handler)
    if described is None:
        page_use: RouteUse = getattr(handler, _USE, "free")
        return page_use
    return described.use if described.is_limited else "free"


def is_page(handler: Callable[..., Any]) -> bool:
    """Return whether a handler serves a page, which is not part of the described API."""
    return hasattr(handler, _ATTRIBUTE)


def current_principal() -> Principal:
    """Return the principal of the current request or WebSocket.

    It is unauthenticated where the request was refused before the guard.
    """
    principal: Principal = g.get("principal", UNAUTHENTICATED)
    return principal


async def check_again() -> Principal:
    """Check the credential of the current WebSocket again, which may have been revoked.

    Raises RequestError `unauthorized` or `forbidden`, and StorageUnavailable.
    """
    guard: Guard = g.guard
    g.principal = await guard.admit(websocket)
    return current_principal()


def choose_subprotocol() -> str | None:
    """Return the subprotocol to accept: browsers fail a socket when they offered one and get none.

    A client that does not want its key in the response offers `chat` in addition.
    """
    offered = websocket.requested_subprotocols
    if _CHAT_PROTOCOL in offered:
        return _CHAT_PROTOCOL
    return next(iter(find_bearers(offered)), None)


class Guard:
    """Resolves callers, and refuses those that may not use the route."""

    def __init__(self, app: Quart, resolver: Resolver | None, audit: Audit) -> None:
        self._app = app
        self._resolver = resolver
        self._audit = audit

    async def check_request(self) -> None:
        """Set the principal of the current request. Raises RequestError, StorageUnavailable."""
        rule = request.url_rule
        # An unknown address has no handler, and a preflight carries no credential.
        if rule is None or (request.method == "OPTIONS" and rule.provide_automatic_options):
            g.principal = UNAUTHENTICATED
        else:
            g.principal = await self.admit(request)

    async def check_handshake(self) -> Response | None:
        """Set the principal of the current WebSocket, or close it after a JSON error.

        Browsers show a page nothing of a refused handshake, but the close code of an open socket.
        """
        g.guard = self
        try:
            g.principal = await self.admit(websocket)
        except RequestError as error:
            if error.code not in CLOSE_CODES:
                raise
            await websocket.accept(subprotocol=choose_subprotocol())
            await websocket.send(json.dumps({"error": error.message}))
            await websocket.close(CLOSE_CODES[error.code], error.message[:120])
            return Response("", 403)  # not sent: the socket is closed
        return None

    async def admit(self, received: BaseRequestWebsocket) -> Principal:
        """Return the caller. Raises RequestError when it may not use the route."""
        rule = received.url_rule
        if rule is None:  # a WebSocket at an unknown address
            return UNAUTHENTICATED
        needed = scope_of(self._app.view_functions[rule.endpoint])
        address = received.remote_addr or ""
        if self._resolver is None:
            return replace(ANONYMOUS, address=address, route=rule.rule)
        if needed == "public":
            return replace(UNAUTHENTICATED, address=address, route=rule.rule)
        found = await self._resolve(self._resolver, received)
        if not is_allowed(found, needed):
            raise _forbid(needed)
        return replace(found, address=address, route=rule.rule)

    async def _resolve(self, resolver: Resolver, received: BaseRequestWebsocket) -> Principal:
        try:
            credential = _read_credential(received)
            if credential is None:
                raise RequestError("unauthorized", _MISSING, headers=_challenge())
            found = await resolver.resolve(credential)
            if credential.source == "Cookie" and has_request_context():
                check_csrf(credential.value)
            return found
        except CredentialError as error:
            raise self._refuse(received, str(error)) from None
        except RequestError as error:
            if error.code != "unauthorized" or error.headers:
                raise
            raise self._refuse(received, error.message) from None

    def _refuse(self, received: BaseRequestWebsocket, message: str) -> RequestError:
        """Return the error for a credential that is present and not valid."""
        caller = replace(UNAUTHENTICATED, address=received.remote_addr or "")
        self._audit.record("credential.refused", caller, reason=message)
        return RequestError("unauthorized", message, headers=_challenge("invalid_token", message))


_MISSING = (
    "This service requires a key: send it as `Authorization: Bearer <key>` or as `X-API-Key`."
)


def _read_credential(received: BaseRequestWebsocket) -> Credential | None:
    headers = received.headers
    return PresentedValues(
        authorization=headers.getlist("Authorization"),
        api_key=headers.getlist("X-API-Key"),
        subprotocols=() if has_request_context() else websocket.requested_subprotocols,
        cookies=SESSION.read_all(received),
    ).find()


def _challenge(error: str = "", description: str = "", scope: str = "") -> dict[str, str]:
    """Return the header that tells a client how to authenticate, and the fault of its credential.

    Source: RFC 6750, 3
    """
    facts = {"error": error, "error_description": description, "scope": scope}
    quoted = {name: value.replace('"', "'") for name, value in facts.items() if value}
    parts = [_REALM, *(f'{name}="{value}"' for name, value in quoted.items())]
    return {"WWW-Authenticate": ", ".join(parts)}


def _forbid(needed: RouteScope) -> RequestError:
    if needed == "metrics":
        message = "The metrics need the key of an administrator, with the scope read."
    else:
        message = f"The credential is valid, but has no scope {needed}, which this address needs."
    return RequestError(
        "forbidden", message, headers=_challenge("insufficient_scope", message, needed)
    )
