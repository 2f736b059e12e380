"""`/web/login`, `/web/register`, `/web/auth/…`: the forms of accounts."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlencode

from quart import Quart, Response, request

from service.access.opaque_tokens import is_csrf_token, make_csrf_token
from service.accounts.logins.login import LoggedIn, LoginAttempt
from service.accounts.logins.registration import NewAccount
from service.accounts.logins.web_sessions import ActiveSession
from service.api.accounts.callers import read_visit, set_login_cookies
from service.api.dependencies import ApiDependencies
from service.api.http.errors import STATUSES
from service.api.http.principal import needs_scope
from service.api.middleware.cookies import DEVICE, SESSION
from service.api.web.forms import (
    DEFAULT_PAGE,
    has_form_token,
    prepare_form_token,
    read_form,
    read_next,
    set_form_cookie,
)
from service.api.web.rendering import Pages, install_style, redirect_to
from service.errors import RequestError, ServiceError

_OFF_TITLE = "Accounts are off"
_OFF = (
    "Everyone who reaches this service uses it without logging in. AUTH=required turns accounts "
    "on; see docs/security.md."
)
_EXPIRED = "The form has expired. Please try again."
_LOGIN_PATH = "/web/login"


def install(app: Quart, api: ApiDependencies) -> None:
    """Add the pages of accounts to `app`."""
    pages = Pages()
    install_style(app, pages)
    _install_start(app, api, pages)
    _install_login(app, api, pages)
    _install_registration(app, api, pages)
    _install_logout(app, api, pages)


def _install_start(app: Quart, api: ApiDependencies, pages: Pages) -> None:
    @app.get("/web/")
    @needs_scope("public")
    async def start_page() -> Response:
        if not api.account_services.is_on:
            return pages.show_message(_OFF_TITLE, _OFF)
        active = await _find_active(api)
        if active is None:
            return redirect_to(f"{_LOGIN_PATH}?{urlencode({'next': DEFAULT_PAGE})}")
        csrf_token = make_csrf_token(SESSION.read(request))
        return pages.render("start.html", user=active.user, csrf_token=csrf_token)


def _install_login(app: Quart, api: ApiDependencies, pages: Pages) -> None:
    accounts = api.account_services

    def show_form(next_page: str, name: str = "", error: ServiceError | None = None) -> Response:
        secret, csrf_token = prepare_form_token()
        page = pages.render(
            "login.html",
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

    @app.get(_LOGIN_PATH)
    @needs_scope("public")
    async def login_page() -> Response:
        if not accounts.is_on:
            return pages.show_message(_OFF_TITLE, _OFF)
        next_page = read_next(request.args.get("next", DEFAULT_PAGE))
        if await _find_active(api):
            return redirect_to(next_page)
        return show_form(next_page)

    @app.post("/web/auth/login")
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
        return _enter(api, login, next_page)


def _install_registration(app: Quart, api: ApiDependencies, pages: Pages) -> None:
    accounts = api.account_services

    def show_form(values: Mapping[str, str], error: ServiceError | None = None) -> Response:
        secret, csrf_token = prepare_form_token()
        page = pages.render(
            "register.html",
            _status_of(error),
            values={name: values.get(name, "") for name in ("name", "email", "invite")},
            error=error.message if error else "",
            csrf_token=csrf_token,
            mode=accounts.registration.mode,
        )
        set_form_cookie(page, secret)
        _set_retry(page, error)
        return page

    @app.get("/web/register")
    @needs_scope("public")
    async def registration_page() -> Response:
        if not accounts.is_on:
            return pages.show_message(_OFF_TITLE, _OFF)
        return show_form({"invite": request.args.get("invite", "")})

    @app.post("/web/auth/register")
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
        return _enter(api, login, DEFAULT_PAGE)


def _install_logout(app: Quart, api: ApiDependencies, pages: Pages) -> None:
    accounts = api.account_services

    @app.get("/web/auth/logout")
    @needs_scope("public")
    async def logout_page() -> Response:
        """Show a button: a link or a picture on another site must not log a visitor out."""
        active = await _find_active(api)
        if active is None:
            return redirect_to(_LOGIN_PATH)
        csrf_token = make_csrf_token(SESSION.read(request))
        return pages.render("logout.html", user=active.user, csrf_token=csrf_token)

    @app.post("/web/auth/logout")
    @needs_scope("public")
    async def log_out_by_form() -> Response:
        form, active = await read_form(), await _find_active(api)
        if active:
            if not is_csrf_token(form.get("csrf_token", ""), SESSION.read(request)):
                return pages.show_message("Not logged out", _EXPIRED, 403)
            await accounts.logins.log_out(active, read_visit())
        response = redirect_to(_LOGIN_PATH)
        SESSION.delete(response)
        return response


async def _find_active(api: ApiDependencies) -> ActiveSession | None:
    """Return the session of the visitor."""
    accounts = api.account_services
    tokens = SESSION.read_all(request) if accounts.is_on else []
    return await accounts.sessions.resolve(tokens[0]) if len(tokens) == 1 else None


def _enter(api: ApiDependencies, login: LoggedIn, next_page: str) -> Response:
    response = redirect_to(next_page)
    set_login_cookies(response, login, api.account_services.sessions.lifetime_s)
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
