"""The services of accounts: for users with their own, for administrators with all."""

from __future__ import annotations

from dataclasses import dataclass

from service.access.principal import Principal
from service.accounts.audit import Audit
from service.accounts.keys import KeyAdministration
from service.accounts.logins.login import Logins
from service.accounts.logins.passwords import Passwords
from service.accounts.logins.registration import Registration
from service.accounts.logins.throttle import AttemptCounts, LoginThrottle
from service.accounts.logins.web_sessions import WebSessions
from service.accounts.users import StopRuns, UserAdministration
from service.errors import RequestError
from service.settings import Settings
from service.store.accounts.attempts import DatabaseAttempts
from service.store.accounts.invites import InviteStore
from service.store.accounts.keys import KeyStore
from service.store.accounts.ownership import Ownership
from service.store.accounts.records import StoredUser
from service.store.accounts.sessions import WebSessionStore
from service.store.accounts.users import UserStore
from service.store.database import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountServices:
    """Logins, registration, sessions, and the administration of users and keys."""

    is_on: bool
    logins: Logins
    registration: Registration
    sessions: WebSessions
    users: UserAdministration
    keys: KeyAdministration
    invites: InviteStore
    passwords: Passwords
    throttle: LoginThrottle

    def check_on(self) -> None:
        """Raise RequestError 409 with AUTH=off: an account that a stranger adds would remain."""
        if not self.is_on:
            raise RequestError(
                "accounts_off",
                "Accounts are off: every caller is the same anonymous user. AUTH=required turns "
                "them on; `python -m service users add <name> --admin` adds the first user.",
            )

    async def find_caller(self, principal: Principal) -> StoredUser:
        """Return the user behind a caller.

        Raises RequestError 409 for a caller without an account, and StorageUnavailable.
        """
        self.check_on()
        if principal.method not in ("key", "session", "jwt"):
            raise _no_account()
        try:
            user = await self.users.find(principal.owner)
        except RequestError:
            raise _no_account() from None
        if user.id != principal.owner:
            raise _no_account()
        return user

    async def close(self) -> None:
        """Stop what runs in the background."""
        self.sessions.close()
        self.passwords.close()
        await self.throttle.close()


def open_account_services(
    settings: Settings, database: Database, audit: Audit, stop_runs: StopRuns
) -> AccountServices:
    """Return the services on `database`. Raises ValueError for an invalid Redis URL."""
    users, passwords = UserStore(database), Passwords()
    throttle = LoginThrottle(_open_attempts(settings.redis, database))
    sessions = WebSessions(
        WebSessionStore(database),
        users,
        idle_s=settings.session_idle_s,
        lifetime_s=settings.session_lifetime_s,
    )
    return AccountServices(
        is_on=settings.requires_auth,
        logins=Logins(users, sessions, passwords, throttle, audit),
        registration=Registration(users, passwords, throttle, settings.registration_mode),
        sessions=sessions,
        users=UserAdministration(users, passwords, Ownership(database), stop_runs),
        keys=KeyAdministration(KeyStore(database), users),
        invites=InviteStore(database),
        passwords=passwords,
        throttle=throttle,
    )


def _open_attempts(redis_url: str | None, database: Database) -> AttemptCounts:
    if not redis_url:
        return DatabaseAttempts(database)
    from service.accounts.logins.redis_attempts import RedisAttempts

    return RedisAttempts(redis_url)


def _no_account() -> RequestError:
    return RequestError(
        "no_account", "This credential belongs to no user: it is the static key or a foreign token."
    )
