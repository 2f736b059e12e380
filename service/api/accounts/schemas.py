"""Bodies and responses of the account addresses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, NotRequired

from pydantic import AwareDatetime, ConfigDict, Field, StringConstraints
from typing_extensions import TypedDict

from service.access.principal import AccessScope, Role
from service.api.history.history import Paged
from service.api.history.items import format_time
from service.api.http.body import AnyText, Body, Text
from service.api.usage.usage import UsageFigures
from service.store.accounts.records import StoredKey, StoredUser, WebSession

AccountName = Annotated[Text, StringConstraints(max_length=64)]
Email = Annotated[Text, StringConstraints(max_length=254)]
Password = Annotated[AnyText, StringConstraints(max_length=4_096)]
KeyLabel = Annotated[Text, StringConstraints(max_length=100)]
Scopes = Annotated[list[AccessScope], Field(min_length=1, max_length=10)]
Limits = dict[str, str | int]


class RegistrationRequest(Body):
    """A new user. `invite` is an invitation, or the code for the first administrator."""

    name: AccountName
    password: Password
    email: Email | None = None
    invite: Annotated[Text, StringConstraints(max_length=200)] | None = None


class LoginRequest(Body):
    """A login with a name or an e-mail address."""

    name: Annotated[Text, StringConstraints(max_length=254)] | None = None
    email: Email | None = None
    password: Password


class PasswordChange(Body):
    """A new password, with the current one."""

    current_password: Password
    new_password: Password


class UserRequest(Body):
    """A user to add, or without a name an invitation to register."""

    name: AccountName | None = None
    email: Email | None = None
    password: Password | None = None
    role: Role = "user"
    limits: Limits | None = None


def _without_defaults(schema: dict[str, Any]) -> None:
    for each in schema["properties"].values():
        del each["default"]  # an absent field is not changed


class UserChange(Body):
    """Changes of a user; null removes an e-mail address or limits."""

    model_config = ConfigDict(json_schema_extra=_without_defaults)

    role: Role = "user"
    email: Email | None = None
    password: Password = ""
    disabled: bool = False
    limits: Limits | None = None


class KeyRequest(Body):
    """A key to create. Without `scopes` it has those of its user's role."""

    name: KeyLabel
    scopes: Scopes | None = None
    expires_at: AwareDatetime | None = None
    limits: Limits | None = None


class KeyChange(Body):
    """Changes of a key; null removes an expiry or limits, and restores the scopes of the role."""

    model_config = ConfigDict(json_schema_extra=_without_defaults)

    name: KeyLabel = ""
    scopes: Scopes | None = None
    expires_at: AwareDatetime | None = None
    limits: Limits | None = None


class KeyRotation(Body):
    """The time for which the old key remains valid, in seconds."""

    grace_s: Annotated[float, Field(ge=0, le=31_536_000)] = 0


class UserShown(TypedDict):
    """A user."""

    id: str
    name: str
    email: str | None
    role: Role
    disabled: bool
    has_password: bool
    limits: Mapping[str, Any] | None
    created_at: str
    updated_at: str


class UserPage(Paged):
    """Users, oldest first."""

    items: list[UserShown]


class InviteShown(TypedDict):
    """An invitation; it is shown once. `path` is the page on which it is used."""

    invite: str
    path: str
    role: Role
    email: str | None
    expires_at: str


class LoginShown(TypedDict):
    """A login. `csrf_token` is needed as `X-CSRF-Token` with the cookie."""

    user: UserShown
    csrf_token: str


class SessionInfo(TypedDict):
    """The login of a browser."""

    id: str
    created_at: str
    last_seen_at: str
    expires_at: str
    address: str
    user_agent: str
    current: bool


class SessionInfoList(TypedDict):
    """The sessions of the caller, the last used first. `csrf_token`: for the current one."""

    items: list[SessionInfo]
    csrf_token: NotRequired[str]


class KeyShown(TypedDict):
    """A key, without its text. `scopes` null: those of the user's role."""

    id: str
    user_id: str
    name: str
    scopes: list[AccessScope] | None
    limits: Mapping[str, Any] | None
    created_at: str
    expires_at: str | None
    last_used_at: str | None
    replaced_by: str | None


class KeyUsage(TypedDict):
    """The usage of a key since the start of the day, the week and the month, in UTC."""

    day: UsageFigures
    week: UsageFigures
    month: UsageFigures


class ListedKey(KeyShown):
    """A key in a list, with its usage."""

    usage: KeyUsage


class CreatedKey(KeyShown):
    """A new key with its text, which is shown once."""

    key: str


class KeyPage(Paged):
    """Keys, newest first."""

    items: list[ListedKey]


def show_user(user: StoredUser) -> UserShown:
    """Return a user as JSON."""
    return {
        "id": user.id,
        "name": user.name,
        "email": user.email,
        "role": user.role,
        "disabled": user.disabled_at is not None,
        "has_password": user.password_hash is not None,
        "limits": user.limits,
        "created_at": format_time(user.created_at),
        "updated_at": format_time(user.updated_at),
    }


def show_session(session: WebSession, current_id: str) -> SessionInfo:
    """Return a session as JSON."""
    return {
        "id": session.id,
        "created_at": format_time(session.created_at),
        "last_seen_at": format_time(session.last_seen_at),
        "expires_at": format_time(session.expires_at),
        "address": session.address,
        "user_agent": session.user_agent,
        "current": session.id == current_id,
    }


def show_key(key: StoredKey) -> KeyShown:
    """Return a key as JSON."""
    return {
        "id": key.id,
        "user_id": key.user_id,
        "name": key.name,
        "scopes": None if key.scopes is None else [*key.scopes],
        "limits": key.limits,
        "created_at": format_time(key.created_at),
        "expires_at": format_time(key.expires_at) if key.expires_at else None,
        "last_used_at": format_time(key.last_used_at) if key.last_used_at else None,
        "replaced_by": key.replaced_by,
    }
