"""`GET /api/me`: the caller of the request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quart import Quart, Response, jsonify
from typing_extensions import TypedDict

from service.access.principal import AccessScope, AuthMethod, Principal, Role
from service.api.dependencies import ApiDependencies
from service.api.http.principal import current_principal
from service.api.openapi.operation import Operation, ResponseSpec, Tag


class Caller(TypedDict):
    """A caller: `user` is a name, `user_id` the owner of its data, `key_id` that of its key.

    `user` is null for callers without an account. `limits` are those that are stored with the user
    and the key.
    """

    user: str | None
    user_id: str
    role: Role
    scopes: list[AccessScope]
    method: AuthMethod
    key_id: str | None
    limits: list[Mapping[str, Any]]


def install(app: Quart, _api: ApiDependencies) -> None:
    """Add `/api/me` to `app`."""

    @app.get("/api/me")
    @Operation(
        "Get the caller",
        tag=Tag.ACCOUNTS,
        scope="authenticated",
        answers=(ResponseSpec("The caller.", Caller),),
    )
    async def show_caller() -> Response:
        return jsonify(_describe(current_principal()))


def _describe(principal: Principal) -> Caller:
    stored = (principal.user_limits, principal.key_limits)
    return {
        "user": principal.user,
        "user_id": principal.owner,
        "role": principal.role,
        "scopes": sorted(principal.scopes),
        "method": principal.method,
        "key_id": principal.key_id,
        "limits": [each for each in stored if each],
    }
