"""Registration: open, with an invitation, or with the code for the first administrator."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from service.access.names import parse_email, parse_name
from service.access.opaque_tokens import hash_token, new_token
from service.access.principal import Principal, Role
from service.accounts.audit import make_entry
from service.accounts.logins.login import check_password_field
from service.accounts.logins.passwords import Passwords
from service.accounts.logins.throttle import LoginThrottle
from service.accounts.logins.web_sessions import Visit, make_principal
from service.errors import FieldError, RequestError
from service.ids import new_id
from service.settings.access import RegistrationMode
from service.store.accounts.invites import InviteStore
from service.store.accounts.records import (
    CREATED_AT_START,
    Invite,
    InviteRefusedError,
    NameTakenError,
    StoredUser,
)
from service.store.accounts.users import UserStore

_INVITE_LIFETIME = timedelta(days=7)
_CODE_LIFETIME = timedelta(days=30)
_CODE_BYTES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAccount:
    """The fields of a registration, as they were typed. `invite` is an invitation or the code."""

    name: str
    password: str = field(repr=False)
    email: str = ""
    invite: str = field(default="", repr=False)


class Registration:
    """Registers users. Every method raises StorageUnavailable."""

    def __init__(
        self,
        users: UserStore,
        passwords: Passwords,
        throttle: LoginThrottle,
        mode: RegistrationMode,
    ) -> None:
        self.mode = mode
        self._users = users
        self._passwords = passwords
        self._throttle = throttle

    async def register(self, account: NewAccount, visit: Visit) -> StoredUser:
        """Add a user.

        Raises RequestError 400 for an unsuitable field, 403 without permission to register, 409
        for a name or an address that another user has, 429 for too many registrations.
        """
        self._check_mode(account.invite)
        name = parse_name_field(account.name)
        email = parse_email_field(account.email) if account.email.strip() else None
        password = check_password_field("password", account.password, name)
        await self._throttle.admit_registration(visit.address)
        user = make_new_user(name, email, await self._passwords.hash(password))
        invite_hash = hash_token(account.invite.strip()) if account.invite.strip() else None
        actions = ["user.registered", *(["invite.used"] if invite_hash else [])]
        by = make_principal(user, visit.address)
        entries = [make_entry(each, by, user.id) for each in actions]  # type: ignore[arg-type]
        try:
            return await self._users.add(user, invite_hash, entries)
        except NameTakenError as error:
            raise name_taken(error) from None
        except InviteRefusedError:
            raise RequestError(
                "invite_refused", "The invitation or the code is unknown, used or expired."
            ) from None

    def _check_mode(self, invite: str) -> None:
        if self.mode == "open" or invite.strip():
            return
        if self.mode == "invite":
            raise RequestError("invite_required", "Registration needs an invitation.")
        raise RequestError(
            "registration_closed", "Registration is closed; an administrator adds users."
        )


async def create_invite(
    invites: InviteStore, role: Role, email: str | None, by: Principal | str
) -> tuple[str, Invite]:
    """Create an invitation, valid for a week; return its token, which is not stored.

    Raises StorageUnavailable.
    """
    token, now = new_token(), datetime.now(UTC)
    invite = Invite(
        token_hash=hash_token(token),
        role=role,
        email=email,
        created_by=by.owner if isinstance(by, Principal) else None,
        created_at=now,
        expires_at=now + _INVITE_LIFETIME,
    )
    await invites.add(invite, [make_entry("invite.created", by, role=role)])
    return token, invite


async def create_first_admin_code(users: UserStore, invites: InviteStore) -> str | None:
    """Return a code that makes its user an administrator, None when there is one already.

    It works once, in every process, until there is an administrator. Raises StorageUnavailable.
    """
    if await users.has_admin():
        return None
    code, now = secrets.token_hex(_CODE_BYTES), datetime.now(UTC)
    await invites.add(
        Invite(
            token_hash=hash_token(code),
            role="admin",
            created_by=CREATED_AT_START,
            created_at=now,
            expires_at=now + _CODE_LIFETIME,
        )
    )
    return code


def make_new_user(
    name: str, email: str | None, password_hash: str | None, role: Role = "user"
) -> StoredUser:
    """Return a user with a new id."""
    now = datetime.now(UTC)
    return StoredUser(
        id=new_id("user"),
        name=name,
        email=email,
        role=role,
        password_hash=password_hash,
        created_at=now,
        updated_at=now,
    )


def parse_name_field(name: str) -> str:
    """Return a name in its normal form. Raises RequestError 400."""
    try:
        return parse_name(name)
    except ValueError as error:
        raise _invalid("name", error) from None


def parse_email_field(email: str) -> str:
    """Return an e-mail address in its normal form. Raises RequestError 400."""
    try:
        return parse_email(email)
    except ValueError as error:
        raise _invalid("email", error) from None


def name_taken(error: NameTakenError) -> RequestError:
    """Return the error for a name or an e-mail address that another user has."""
    what = {"name": "name", "email": "e-mail address"}[str(error)]
    return RequestError(
        "name_taken", f"Another user has this {what}.", [FieldError(str(error), "is taken")]
    )


def _invalid(field_name: str, error: ValueError) -> RequestError:
    details = [FieldError(field_name, str(error))]
    message = f"The request is not valid: {field_name}: {error}."
    return RequestError("bad_request", message, details)
