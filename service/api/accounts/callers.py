"""The caller of an account address: its user, its session, and its cookies."""

from __future__ import annotations

from quart import Response, request

from service.access.principal import Principal
from service.accounts.logins.login import LoggedIn
from service.accounts.logins.web_sessions import ActiveSession, Visit
from service.accounts.services import AccountServices
from service.api.http.principal import current_principal
from service.api.middleware.cookies import DEVICE, SESSION
from service.errors import RequestError

_DEVICE_LIFETIME_S = 31_536_000


def read_visit() -> Visit:
    """Return the client of the current request."""
    return Visit(current_principal().address, request.headers.get("User-Agent", ""))


async def find_session(accounts: AccountServices) -> ActiveSession | None:
    """Return the session of the cookie that was the credential of the current request."""
    if current_principal().method != "session":
        return None
    return await accounts.sessions.resolve(SESSION.read(request))


def check_may_manage_sessions(principal: Principal) -> None:
    """Raise RequestError 403 for a key that may not manage credentials."""
    if principal.method != "session" and not principal.may("keys"):
        raise RequestError("forbidden", "The key has no scope keys, which this address needs.")


def set_login_cookies(response: Response, login: LoggedIn, lifetime_s: int) -> None:
    """Set the cookies of a login in the browser."""
    SESSION.set(response, login.session_token, lifetime_s)
    if login.device:
        DEVICE.set(response, login.device, _DEVICE_LIFETIME_S)
