"""`/api/keys`: the API keys of the caller, and of all users for administrators."""

from __future__ import annotations

from typing import Any

from quart import Quart, Response, jsonify, request

from service.access.api_keys import ApiKey
from service.access.principal import Principal
from service.accounts.keys import NewApiKey
from service.api.accounts.key_usage import read_key_usage
from service.api.accounts.limits import check_own_limits
from service.api.accounts.schemas import (
    CreatedKey,
    KeyChange,
    KeyPage,
    KeyRequest,
    KeyRotation,
    KeyShown,
    show_key,
)
from service.api.dependencies import ApiDependencies
from service.api.history.history import page_fields
from service.api.http.body import read_body
from service.api.http.principal import current_principal
from service.api.http.query import PAGE, TextParam, read_page
from service.api.openapi.operation import Operation, ResponseSpec, Tag
from service.errors import RequestError
from service.store.accounts.records import StoredKey, StoredUser

_USER = TextParam(
    "user",
    "The id or name of another user, for administrators; `*` lists the keys of all users.",
    128,
    required=False,
)
_EVERY_USER = "*"


def install(app: Quart, api: ApiDependencies) -> None:
    """Add `/api/keys` to `app`."""
    accounts = api.account_services

    async def find_owner() -> StoredUser:
        """Return the owner of the keys in the request. Raises RequestError 403, 404, 409."""
        principal, named = current_principal(), _USER.read_optional()
        if named is None:
            return await accounts.find_caller(principal)
        accounts.check_on()
        _check_admin(principal, named)
        return await accounts.users.find(named)

    @app.get("/api/keys")
    @Operation(
        "List the own API keys with their usage, newest first",
        tag=Tag.ACCOUNTS,
        scope="keys",
        parameters=(*PAGE, _USER),
        answers=(ResponseSpec("A page of keys.", KeyPage),),
        errors=(404, 409),
    )
    async def list_keys() -> Response:
        limit, offset = read_page()
        owner_id = None
        if _USER.read_optional() == _EVERY_USER:
            accounts.check_on()
            _check_admin(current_principal(), "")
        else:
            owner_id = (await find_owner()).id
        page = await accounts.keys.list_page(owner_id, limit, offset)
        usage = await read_key_usage(api.store.usage, owner_id)
        items = [{**show_key(each), "usage": usage.show(each.id)} for each in page.items]
        return jsonify({"items": items, **page_fields(page, limit, offset)})

    @app.post("/api/keys")
    @Operation(
        "Create an API key, which is shown once",
        tag=Tag.ACCOUNTS,
        scope="keys",
        description="Its scopes cannot exceed those of the caller.",
        body=KeyRequest,
        example={"name": "laptop", "scopes": ["run", "read"]},
        parameters=(_USER,),
        answers=(ResponseSpec("The key.", CreatedKey, status=201),),
        errors=(404, 409),
    )
    async def create_key() -> Response:
        owner, principal = await find_owner(), current_principal()
        body = await read_body(KeyRequest)
        new = NewApiKey(
            name=body.name,
            scopes=body.scopes,
            limits=check_own_limits(body.limits, principal),
            expires_at=body.expires_at,
        )
        return _respond_with(*await accounts.keys.create(owner, new, principal))

    @app.patch("/api/keys/<key_id>")
    @Operation(
        "Change an API key",
        tag=Tag.ACCOUNTS,
        scope="keys",
        body=KeyChange,
        example={"name": "old laptop"},
        answers=(ResponseSpec("The key.", KeyShown),),
        errors=(409,),
    )
    async def change_key(key_id: str) -> Response:
        owner_id, principal = await find_owner_id(), current_principal()
        body = await read_body(KeyChange)
        values: dict[str, Any] = {name: getattr(body, name) for name in body.model_fields_set}
        if "limits" in values:
            values["limits"] = check_own_limits(values["limits"], principal)
        changed = await accounts.keys.change(owner_id, key_id, principal, values)
        api.accounts.forget()
        return jsonify(show_key(changed))

    @app.delete("/api/keys/<key_id>")
    @Operation(
        "Revoke an API key within a second",
        tag=Tag.ACCOUNTS,
        scope="keys",
        answers=(ResponseSpec("The key is revoked.", status=204),),
        errors=(409,),
    )
    async def revoke_key(key_id: str) -> Response:
        await accounts.keys.revoke(await find_owner_id(), key_id, current_principal())
        api.accounts.forget()
        return Response(status=204)

    @app.post("/api/keys/<key_id>/rotate")
    @Operation(
        "Replace an API key by a new one with equal permissions",
        tag=Tag.ACCOUNTS,
        scope="keys",
        description="The old key remains valid for `grace_s` seconds, by default not at all.",
        body=KeyRotation,
        body_may_be_absent=True,
        example={"grace_s": 3600},
        answers=(ResponseSpec("The new key.", CreatedKey, status=201),),
        errors=(409,),
    )
    async def rotate_key(key_id: str) -> Response:
        owner_id = await find_owner_id()
        body = await read_body(KeyRotation) if await request.get_data() else KeyRotation()
        rotated = await accounts.keys.rotate(owner_id, key_id, current_principal(), body.grace_s)
        api.accounts.forget()
        return _respond_with(*rotated)

    async def find_owner_id() -> str | None:
        """Return the owner of the keys that the caller may change, None for all users."""
        accounts.check_on()
        principal = current_principal()
        return None if principal.may("admin") else (await accounts.find_caller(principal)).id


def _check_admin(principal: Principal, named: str) -> None:
    is_own = named in (principal.owner, principal.user)
    if not is_own and not principal.may("admin"):
        raise RequestError("forbidden", "The keys of other users need the scope admin.")


def _respond_with(key: ApiKey, stored: StoredKey) -> Response:
    response = jsonify({**show_key(stored), "key": key.text})
    response.status_code = 201
    return response
