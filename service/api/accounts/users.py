"""`/api/users`: administrators list, add, invite, change and delete users."""

from __future__ import annotations

from typing import Any

from quart import Quart, Response, jsonify

from service.accounts.logins.registration import create_invite, parse_email_field
from service.accounts.users import NewUser
from service.api.accounts.limits import check_limits
from service.api.accounts.schemas import (
    InviteShown,
    UserChange,
    UserPage,
    UserRequest,
    UserShown,
    show_user,
)
from service.api.dependencies import ApiDependencies
from service.api.history.history import page_fields
from service.api.history.items import format_time
from service.api.http.body import invalid_request, read_body
from service.api.http.principal import current_principal
from service.api.http.query import PAGE, TextParam, read_page
from service.api.openapi.operation import Operation, ResponseSpec, Tag
from service.errors import FieldError

_TRANSFER_TO = TextParam(
    "transfer_to", "The id or name of the user who receives the data.", 128, required=False
)


def install(app: Quart, api: ApiDependencies) -> None:
    """Add `/api/users` to `app`."""
    accounts = api.account_services

    @app.get("/api/users")
    @Operation(
        "List the users, oldest first",
        tag=Tag.ACCOUNTS,
        scope="admin",
        parameters=PAGE,
        answers=(ResponseSpec("A page of users.", UserPage),),
        errors=(409,),
    )
    async def list_users() -> Response:
        accounts.check_on()
        limit, offset = read_page()
        page = await accounts.users.list_page(limit, offset)
        items = [show_user(each) for each in page.items]
        return jsonify({"items": items, **page_fields(page, limit, offset)})

    @app.post("/api/users")
    @Operation(
        "Add a user, or invite one",
        tag=Tag.ACCOUNTS,
        scope="admin",
        description="Without `name` the response is an invitation, with which a person registers.",
        body=UserRequest,
        example={"name": "bob", "role": "user"},
        answers=(ResponseSpec("The user or the invitation.", UserShown | InviteShown, status=201),),
        errors=(409,),
    )
    async def add_user() -> Response:
        accounts.check_on()
        body = await read_body(UserRequest)
        shown = await _add(body) if body.name else await _invite(body)
        response = jsonify(shown)
        response.status_code = 201
        return response

    async def _add(body: UserRequest) -> UserShown:
        new = NewUser(
            name=body.name or "",
            email=body.email or "",
            password=body.password,
            role=body.role,
            limits=check_limits(body.limits),
        )
        return show_user(await accounts.users.create(new, current_principal()))

    async def _invite(body: UserRequest) -> InviteShown:
        if body.password is not None or body.limits is not None:
            raise invalid_request(
                [FieldError("name", "is needed for a user; invitations have none")]
            )
        email = parse_email_field(body.email) if body.email else None
        token, invite = await create_invite(accounts.invites, body.role, email, current_principal())
        return {
            "invite": token,
            "path": f"/web/register?invite={token}",
            "role": invite.role,
            "email": invite.email,
            "expires_at": format_time(invite.expires_at),
        }

    @app.get("/api/users/<user_id>")
    @Operation(
        "Get a user",
        tag=Tag.ACCOUNTS,
        scope="admin",
        description="The user's name is accepted in place of the id.",
        answers=(ResponseSpec("The user.", UserShown),),
        errors=(409,),
    )
    async def show_one_user(user_id: str) -> Response:
        accounts.check_on()
        return jsonify(show_user(await accounts.users.find(user_id)))

    @app.patch("/api/users/<user_id>")
    @Operation(
        "Change the role, limits, address or password of a user, or disable one",
        tag=Tag.ACCOUNTS,
        scope="admin",
        body=UserChange,
        example={"role": "viewer"},
        answers=(ResponseSpec("The user.", UserShown),),
        errors=(409,),
    )
    async def change_user(user_id: str) -> Response:
        accounts.check_on()
        body = await read_body(UserChange)
        changed = await accounts.users.change(user_id, current_principal(), _read_changes(body))
        api.accounts.forget()
        return jsonify(show_user(changed))

    @app.delete("/api/users/<user_id>")
    @Operation(
        "Delete a user with all their data, or transfer the data",
        tag=Tag.ACCOUNTS,
        scope="admin",
        parameters=(_TRANSFER_TO,),
        answers=(ResponseSpec("The user is deleted.", status=204),),
        errors=(409,),
    )
    async def delete_user(user_id: str) -> Response:
        accounts.check_on()
        heir = _TRANSFER_TO.read_optional()
        await accounts.users.delete(user_id, current_principal(), heir)
        api.accounts.forget()
        return Response(status=204)


def _read_changes(body: UserChange) -> dict[str, Any]:
    """Return the fields that the body has. Raises RequestError 400."""
    values = {name: getattr(body, name) for name in body.model_fields_set}
    if "limits" in values:
        values["limits"] = check_limits(values["limits"])
    return values
