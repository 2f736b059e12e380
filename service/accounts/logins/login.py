"""Logins: a name and a password become a web session.

An unknown name, a wrong password and a disabled user cannot be distinguished: the response is the
same, and each costs one verification of a hash.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from service.access.opaque_tokens import make_device_token, read_device_token
from service.access.principal import UNAUTHENTICATED
from service.accounts.audit import Audit, make_entry
from service.accounts.logins.passwords import Passwords, check_new_password, normalize_password
from service.accounts.logins.throttle import LoginThrottle
from service.accounts.logins.web_sessions import ActiveSession, Visit, WebSessions, make_principal
from service.errors import FieldError, RequestError
from service.store.accounts.records import StoredUser
from service.store.accounts.users import UserStore


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginAttempt:
    """A name or an e-mail address with a password, and the cookies of the browser.

    `device` is the cookie of an earlier login, `session_token` that of the current session.
    """

    account: str
    password: str = field(repr=False)
    visit: Visit = field(default_factory=Visit)
    device: str = field(default="", repr=False)
    session_token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """The result of a login: the tokens for the cookies of the browser."""

    user: StoredUser
    session_token: str = field(repr=False)
    device: str = field(repr=False)


class Logins:
    """Logs users in and out and changes their passwords.

    Every method raises StorageUnavailable, also when Redis is set and does not answer: without the
    counts of attempts, passwords could be guessed.
    """

    def __init__(
        self,
        users: UserStore,
        sessions: WebSessions,
        passwords: Passwords,
        throttle: LoginThrottle,
        audit: Audit,
    ) -> None:
        self._users = users
        self._sessions = sessions
        self._passwords = passwords
        self._throttle = throttle
        self._audit = audit

    async def log_in(self, attempt: LoginAttempt) -> LoggedIn:
        """Start a session, which takes the place of the browser's current one.

        Raises RequestError 401 for a wrong name or password, 429 while attempts have to wait.
        """
        user = await self._find(attempt.account)
        account = user.id if user else attempt.account
        device = _identify_device(user, attempt.device)
        await self._throttle.admit_login(account, attempt.visit.address, device)
        is_enabled = user is not None and user.disabled_at is None
        password_hash = user.password_hash if user and is_enabled else None
        is_right = await self._verify(password_hash, attempt.password)
        if user is None or not is_right:
            by = replace(UNAUTHENTICATED, address=attempt.visit.address)
            self._audit.record("login.failed", by, user.id if user else "")
            raise RequestError(
                "login_failed",
                "The name or the password is wrong.",
                headers={"WWW-Authenticate": 'Bearer realm="llm-sse-service"'},
            )
        await self._throttle.note_success(account, attempt.visit.address, device)
        user = await self._rehash(user, attempt.password)
        return await self._start(user, attempt)

    async def start_session(self, user: StoredUser, visit: Visit) -> LoggedIn:
        """Log in a user who has just registered."""
        return await self._start(user, LoginAttempt(account=user.id, password="", visit=visit))

    async def log_out(self, active: ActiveSession, visit: Visit) -> None:
        """End the current session."""
        by = make_principal(active.user, visit.address)
        await self._sessions.end(
            active.user.id, active.session.id, [make_entry("logout", by, active.session.id)]
        )

    async def end_session(self, user: StoredUser, session_id: str, visit: Visit) -> bool:
        """End one of the user's sessions; return False if there is no such one."""
        by = make_principal(user, visit.address)
        entries = [make_entry("session.revoked", by, session_id)]
        return await self._sessions.end(user.id, session_id, entries)

    async def change_password(
        self, user: StoredUser, current: str, new: str, session: ActiveSession | None, visit: Visit
    ) -> None:
        """Set a new password; all sessions of the user end except `session`.

        Raises RequestError 400 for an unsuitable password, 403 for a wrong current one, 409 for a
        user without a password: its first one is set by an administrator.
        """
        if user.password_hash is None:
            raise RequestError(
                "no_password", "This user has no password; an administrator can set one."
            )
        password = check_password_field("new_password", new, user.name)
        # Only the holder of a credential of this account gets here, so strangers cannot use up
        # these attempts.
        device = session.session.id if session else f"password:{user.id}"
        await self._throttle.admit_login(user.id, visit.address, device)
        by = make_principal(user, visit.address)
        if not await self._verify(user.password_hash, current):
            self._audit.record("login.failed", by, user.id)
            raise RequestError("wrong_password", "The current password is wrong.")
        await self._throttle.note_success(user.id, visit.address, device)
        current_id = session.session.id if session else ""
        entries = [make_entry("password.changed", by, user.id)]
        new_hash = await self._passwords.hash(password)
        await self._users.set_password(user.id, new_hash, current_id, entries)
        self._sessions.forget()

    async def _find(self, account: str) -> StoredUser | None:
        if "@" in account:  # which no name contains
            return await self._users.find_by_email(account)
        return await self._users.find_by_name(account)

    async def _verify(self, password_hash: str | None, password: str) -> bool:
        try:
            normal = normalize_password(password)
        except ValueError:
            password_hash, normal = None, ""
        return await self._passwords.verify(password_hash, normal)

    async def _rehash(self, user: StoredUser, password: str) -> StoredUser:
        """Return the user with a hash of the current parameters."""
        old = user.password_hash
        if old is None or not self._passwords.needs_rehash(old):
            return user
        new = await self._passwords.hash(normalize_password(password))
        await self._users.rehash_password(user.id, old, new)
        return replace(user, password_hash=new, updated_at=datetime.now(UTC))

    async def _start(self, user: StoredUser, attempt: LoginAttempt) -> LoggedIn:
        by = make_principal(user, attempt.visit.address)
        replaced = None
        if attempt.session_token:
            replaced = await self._sessions.resolve(attempt.session_token)
        entries = [make_entry("login.succeeded", by, user.id)]
        token = await self._sessions.start(user, attempt.visit, entries)
        if replaced:
            await self._sessions.end(replaced.user.id, replaced.session.id)
        device = attempt.device if _identify_device(user, attempt.device) else ""
        if not device and user.password_hash:
            device = make_device_token(user.password_hash)
        return LoggedIn(user, token, device)


def check_password_field(field_name: str, password: str, name: str) -> str:
    """Return a new password in its normal form. Raises RequestError 400."""
    try:
        return check_new_password(password, name)
    except ValueError as error:
        details = [FieldError(field_name, str(error))]
        raise RequestError(
            "bad_request", f"The request is not valid: {field_name}: {error}.", details
        ) from None


def _identify_device(user: StoredUser | None, cookie: str) -> str:
    """Return the identity of a browser that has logged in to the account before."""
    if user is None or not user.password_hash or not cookie:
        return ""
    return read_device_token(cookie, user.password_hash)
