"""Records of accounts: users, web sessions, API keys and invitations, as the store has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from service.access.principal import AccessScope, Role


class NameTakenError(Exception):
    """Another user has the name or the e-mail address; the message is the field's name."""


class LastAdminError(Exception):
    """The change would leave no user who can administer the service."""


class InviteRefusedError(Exception):
    """The invitation is unknown, used or expired."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredUser:
    """A user. Without `password_hash` no login with a password is possible.

    `limits` has the keys of a rule in limits.toml.
    """

    id: str
    name: str
    role: Role
    created_at: datetime
    updated_at: datetime
    email: str | None = None
    password_hash: str | None = None
    disabled_at: datetime | None = None
    limits: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSession:
    """The login of a browser. `id` is not the token, of which only a hash is stored."""

    id: str
    token_hash: bytes
    user_id: str
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime
    address: str = ""
    user_agent: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredKey:
    """An API key; `id` is its public part. `scopes` None: all scopes of the user's role."""

    id: str
    user_id: str
    name: str
    secret_hash: bytes
    created_at: datetime
    scopes: Sequence[AccessScope] | None = None
    limits: Mapping[str, Any] | None = None
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None
    replaced_by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Invite:
    """A token with which a person may register. `created_by` is a user's id or CREATED_AT_START."""

    token_hash: bytes
    role: Role
    created_at: datetime
    expires_at: datetime
    email: str | None = None
    created_by: str | None = None


CREATED_AT_START = "start-up"
"""The creator of the code for the first administrator, which is valid until there is one."""
