"""`GET /api/me`: the caller of the request."""

from __future__ import annotations

from quart import Quart, Response, jsonify
from typing_extensions import TypedDict

from service.access.principal import AccessScope, AuthMethod, Principal, Role
from service.api.dependencies import ApiDependencies
from service.api.http.principal import current_principal
from service.api.limits.shown import LimitShown, list_limits
from service.api.openapi.operation import Operation, ResponseSpec, Tag


class Caller(TypedDict):
    """A caller: `user` is a name, `user_id` the owner of its data, `key_id` that of its key.

    `user` is null for callers without an account. `limits` are those of questions, and `sharing`
    states which processes count requests together.
    """

    user: str | None
    user_id: str
    role: Role
    scopes: list[AccessScope]
    method: AuthMethod
    key_id: str | None
    limits: list[LimitShown]
    sharing: str


def install(app: Quart, api: ApiDependencies) -> None:
    """Add `/api/me` to `app`."""

    @app.get("/api/me")
    @Operation(
        "Get the caller",
        tag=Tag.ACCOUNTS,
        scope="authenticated",
        answers=(ResponseSpec("The caller.", Caller),),
        use="free",
    )
    async def show_caller() -> Response:
        principal = current_principal()
        limits = await list_limits(api, principal)
        return jsonify(_describe(principal, limits, api.limiter.describe_sharing()))


def _describe(principal: Principal, limits: list[LimitShown], sharing: str) -> Caller:
    return {
        "user": principal.user,
        "user_id": principal.owner,
        "role": principal.role,
        "scopes": sorted(principal.scopes),
        "method": principal.method,
        "key_id": principal.key_id,
        "limits": limits,
        "sharing": sharing,
    }
