"""`/web/login`, `/web/register`, `/web/auth/…`: the forms of accounts."""

from __future__ import annotations

from collections.abc import Mapping

from quart import Blueprint, Response, request

from service.access.opaque_tokens import is_csrf_token
from service.accounts.logins.login import LoggedIn, LoginAttempt
from service.accounts.logins.registration import NewAccount
from service.accounts.logins.web_sessions import ActiveSession
from service.api.accounts.callers import read_visit, set_login_cookies
from service.api.http.errors import STATUSES
from service.api.http.principal import needs_scope
from service.api.middleware.cookies import DEVICE, SESSION
from service.errors import RequestError, ServiceError
from service.pages.dependencies import PageDependencies
from service.pages.forms import (
    DEFAULT_PAGE,
    has_form_token,
    prepare_form_token,
    read_form,
    read_next,
    set_form_cookie,
)
from service.pages.rendering import redirect_to

_OFF_TITLE = "Accounts are off"
_OFF = (
    "Everyone who reaches this service uses it without logging in. AUTH=required turns accounts "
    "on; see docs/security.md."
)
_EXPIRED = "The form has expired. Please try again."
_LOGIN_PATH = "/web/login"


def install(blueprint: Blueprint, pages: PageDependencies) -> None:
    """Add the pages for logging in and out, and for registering."""
    _install_login(blueprint, pages)
    _install_registration(blueprint, pages)
    _install_logout(blueprint, pages)


def _install_login(blueprint: Blueprint, pages: PageDependencies) -> None:
    accounts = pages.api.account_services

    def show_form(next_page: str, name: str = "", error: ServiceError | None = None) -> Response:
        secret, csrf_token = prepare_form_token()
        page = pages.render(
            "accounts/login.html",
            _status_of(error),
            name=name,
            error=error.message if error else "",
            next=next_page,
            csrf_token=csrf_token,
            can_register=accounts.registration.mode != "closed",
        )
        set_form_cookie(page, secret)
        _set_retry(page, error)
        return page

    @blueprint.get(_LOGIN_PATH)
    @needs_scope("public")
    async def login_page() -> Response:
        if not accounts.is_on:
            return pages.show_message(_OFF_TITLE, _OFF)
        next_page = read_next(request.args.get("next", DEFAULT_PAGE))
        if await _find_active(pages):
            return redirect_to(next_page)
        return show_form(next_page)

    @blueprint.get("/web/auth/login")
    @needs_scope("public")
    async def login_form_address() -> Response:
        """Lead a visitor who opens the address of a refused form again to the form."""
        return redirect_to(_LOGIN_PATH)

    @blueprint.post("/web/auth/login")
    @needs_scope("public")
    async def log_in_by_form() -> Response:
        if not accounts.is_on:
            return pages.show_message(_OFF_TITLE, _OFF, status=409)
        form = await read_form()
        next_page, name = read_next(form.get("next", DEFAULT_PAGE)), _read_account(form)
        try:
            _check_form_token(form)
            attempt = LoginAttempt(
                account=name,
                password=form.get("password", ""),
                visit=read_visit(),
                device=DEVICE.read(request),
                session_token=SESSION.read(request),
            )
            login = await accounts.logins.log_in(attempt)
        except ServiceError as error:
            return show_form(next_page, name, error)
        return _enter(pages, login, next_page)


def _install_registration(blueprint: Blueprint, pages: PageDependencies) -> None:
    accounts = pages.api.account_services

    def show_form(values: Mapping[str, str], error: ServiceError | None = None) -> Response:
        secret, csrf_token = prepare_form_token()
        page = pages.render(
            "accounts/register.html",
            _status_of(error),
            values={name: values.get(name, "") for name in ("name", "email", "invite")},
            error=error.message if error else "",
            csrf_token=csrf_token,
            mode=accounts.registration.mode,
        )
        set_form_cookie(page, secret)
        _set_retry(page, error)
        return page

    @blueprint.get("/web/register")
    @needs_scope("public")
    async def registration_page() -> Response:
        if not accounts.is_on:
            return pages.show_message(_OFF_TITLE, _OFF)
        return show_form({"invite": request.args.get("invite", "")})

    @blueprint.get("/web/auth/register")
    @needs_scope("public")
    async def registration_form_address() -> Response:
        """Lead a visitor who opens the address of a refused form again to the form."""
        return redirect_to("/web/register")

    @blueprint.post("/web/auth/register")
    @needs_scope("public")
    async def register_by_form() -> Response:
        if not accounts.is_on:
            return pages.show_message(_OFF_TITLE, _OFF, status=409)
        form = await read_form()
        account = NewAccount(
            name=form.get("name", ""),
            email=form.get("email", ""),
            password=form.get("password", ""),
            invite=form.get("invite", ""),
        )
        try:
            _check_form_token(form)
            user = await accounts.registration.register(account, read_visit())
            login = await accounts.logins.start_session(user, read_visit())
        except ServiceError as error:
            return show_form(form, error)
        return _enter(pages, login, DEFAULT_PAGE)


def _install_logout(blueprint: Blueprint, pages: PageDependencies) -> None:
    accounts = pages.api.account_services

    @blueprint.get("/web/auth/logout")
    @needs_scope("public")
    async def logout_page() -> Response:
        """Show a button: a link or a picture on another site must not log a visitor out."""
        active = await _find_active(pages)
        if active is None:
            return redirect_to(_LOGIN_PATH)
        return pages.render("accounts/logout.html", user=active.user)

    @blueprint.post("/web/auth/logout")
    @needs_scope("public")
    async def log_out_by_form() -> Response:
        form, active = await read_form(), await _find_active(pages)
        if active:
            if not is_csrf_token(form.get("csrf_token", ""), SESSION.read(request)):
                return pages.show_message("Not logged out", _EXPIRED, 403)
            await accounts.logins.log_out(active, read_visit())
        response = redirect_to(_LOGIN_PATH)
        SESSION.delete(response)
        return response


async def _find_active(pages: PageDependencies) -> ActiveSession | None:
    """Return the session of the visitor."""
    accounts = pages.api.account_services
    tokens = SESSION.read_all(request) if accounts.is_on else []
    return await accounts.sessions.resolve(tokens[0]) if len(tokens) == 1 else None


def _enter(pages: PageDependencies, login: LoggedIn, next_page: str) -> Response:
    response = redirect_to(next_page)
    set_login_cookies(response, login, pages.api.account_services.sessions.lifetime_s)
    return response


def _check_form_token(form: Mapping[str, str]) -> None:
    if not has_form_token(form):
        raise RequestError("csrf_token_missing", _EXPIRED)


def _read_account(form: Mapping[str, str]) -> str:
    return (form.get("name") or form.get("email") or "")[:254]


def _status_of(error: ServiceError | None) -> int:
    return STATUSES.get(error.code, 400) if error else 200


def _set_retry(page: Response, error: ServiceError | None) -> None:
    if isinstance(error, RequestError) and "Retry-After" in error.headers:
        page.headers["Retry-After"] = error.headers["Retry-After"]
