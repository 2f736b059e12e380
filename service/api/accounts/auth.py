"""`/api/auth`: register, log in and out, change the password, list and end sessions."""

from __future__ import annotations

from quart import Quart, Response, jsonify, request

from service.access.opaque_tokens import make_csrf_token
from service.accounts.logins.login import LoginAttempt
from service.accounts.logins.registration import NewAccount
from service.api.accounts.callers import (
    check_may_manage_sessions,
    find_session,
    read_visit,
    set_login_cookies,
)
from service.api.accounts.schemas import (
    LoginRequest,
    LoginShown,
    PasswordChange,
    RegistrationRequest,
    SessionInfoList,
    UserShown,
    show_session,
    show_user,
)
from service.api.dependencies import ApiDependencies
from service.api.http.body import invalid_request, read_body
from service.api.http.principal import current_principal
from service.api.middleware.cookies import DEVICE, SESSION
from service.api.openapi.operation import Operation, ResponseSpec, Tag
from service.errors import FieldError, RequestError


def install(app: Quart, api: ApiDependencies) -> None:
    """Add `/api/auth` to `app`."""
    accounts = api.account_services

    @app.post("/api/auth/register")
    @Operation(
        "Register a user",
        tag=Tag.ACCOUNTS,
        scope="public",
        body=RegistrationRequest,
        example={"name": "alice", "password": "correct horse battery"},
        answers=(ResponseSpec("The user.", UserShown, status=201),),
        errors=(403, 409, 429, 503),
    )
    async def register_user() -> Response:
        accounts.check_on()
        body = await read_body(RegistrationRequest)
        account = NewAccount(
            name=body.name,
            email=body.email or "",
            password=body.password,
            invite=body.invite or "",
        )
        user = await accounts.registration.register(account, read_visit())
        response = jsonify(show_user(user))
        response.status_code = 201
        return response

    @app.post("/api/auth/login")
    @Operation(
        "Log in, which sets the session cookie",
        tag=Tag.ACCOUNTS,
        scope="public",
        body=LoginRequest,
        example={"name": "alice", "password": "correct horse battery"},
        answers=(ResponseSpec("The user, and the token against CSRF.", LoginShown),),
        errors=(401, 409, 429, 503),
    )
    async def log_in() -> Response:
        accounts.check_on()
        body = await read_body(LoginRequest)
        if (body.name is None) == (body.email is None):
            raise invalid_request([FieldError("name", "send either name or email")])
        attempt = LoginAttempt(
            account=body.name or body.email or "",
            password=body.password,
            visit=read_visit(),
            device=DEVICE.read(request),
            session_token=SESSION.read(request),
        )
        login = await accounts.logins.log_in(attempt)
        csrf_token = make_csrf_token(login.session_token)
        response = jsonify({"user": show_user(login.user), "csrf_token": csrf_token})
        set_login_cookies(response, login, accounts.sessions.lifetime_s)
        return response

    @app.post("/api/auth/logout")
    @Operation(
        "Log out, which ends the session of the cookie",
        tag=Tag.ACCOUNTS,
        scope="authenticated",
        answers=(ResponseSpec("The session has ended.", status=204),),
        errors=(409, 503),
    )
    async def log_out() -> Response:
        accounts.check_on()
        active = await find_session(accounts)
        if active is None:
            raise RequestError("no_session", "There is no session: the credential is a key.")
        await accounts.logins.log_out(active, read_visit())
        response = Response(status=204)
        SESSION.delete(response)
        return response

    @app.post("/api/auth/password")
    @Operation(
        "Change the own password, which ends the other sessions",
        tag=Tag.ACCOUNTS,
        scope="authenticated",
        body=PasswordChange,
        example={"current_password": "correct horse battery", "new_password": "staple of horses"},
        answers=(ResponseSpec("The password is changed.", status=204),),
        errors=(409, 429, 503),
    )
    async def change_password() -> Response:
        body = await read_body(PasswordChange)
        user = await accounts.find_caller(current_principal())
        await accounts.logins.change_password(
            user,
            body.current_password,
            body.new_password,
            await find_session(accounts),
            read_visit(),
        )
        api.accounts.forget()
        return Response(status=204)

    @app.get("/api/auth/sessions")
    @Operation(
        "List the own sessions",
        tag=Tag.ACCOUNTS,
        scope="authenticated",
        answers=(ResponseSpec("The sessions.", SessionInfoList),),
        errors=(409, 503),
    )
    async def list_web_sessions() -> Response:
        user = await accounts.find_caller(current_principal())
        check_may_manage_sessions(current_principal())
        active = await find_session(accounts)
        current = active.session.id if active else ""
        items = [show_session(each, current) for each in await accounts.sessions.list_of(user.id)]
        csrf = {"csrf_token": make_csrf_token(SESSION.read(request))} if active else {}
        return jsonify({"items": items, **csrf})

    @app.delete("/api/auth/sessions/<web_session_id>")
    @Operation(
        "End one of the own sessions",
        tag=Tag.ACCOUNTS,
        scope="authenticated",
        answers=(ResponseSpec("The session has ended.", status=204),),
        errors=(409,),
    )
    async def end_web_session(web_session_id: str) -> Response:
        user = await accounts.find_caller(current_principal())
        check_may_manage_sessions(current_principal())
        if not await accounts.logins.end_session(user, web_session_id, read_visit()):
            raise RequestError("session_not_found", "There is no such session.")
        return Response(status=204)
