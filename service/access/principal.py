"""The caller of a request, as the guard in front of every handler resolves it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Role = Literal["admin", "user", "viewer"]
AccessScope = Literal["run", "read", "write", "keys", "admin"]
"""What a caller may do: ask models, read, rename and delete, manage keys, administer."""

AuthMethod = Literal["anonymous", "static_key", "key", "jwt", "session"]

ALL_SCOPES: frozenset[AccessScope] = frozenset({"run", "read", "write", "keys", "admin"})

ANONYMOUS_OWNER = "anonymous"
"""The owner of all data while AUTH=off, and of the data from before accounts."""

JWT_OWNER_PREFIX = "jwt:"
"""Starts the owner and the name of callers that only a token identifies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """The caller of a request.

    `owner` owns the runs and conversations that the caller may see; it is the id of the user.
    `user` is the user's name, for a token `jwt:` and its subject. `key_id` is that of the key that
    the request carried. `address` is the client's IP address, "" when it is unknown; `route` the
    rule of the requested address, such as `/api/process`. `user_limits` and `key_limits` have the
    keys of a rule in `limits.toml`.
    """

    owner: str = ANONYMOUS_OWNER
    user: str | None = None
    role: Role = "admin"
    scopes: frozenset[AccessScope] = ALL_SCOPES
    method: AuthMethod = "anonymous"
    key_id: str | None = None
    address: str = ""
    route: str = ""
    user_limits: Mapping[str, Any] | None = None
    key_limits: Mapping[str, Any] | None = None

    def may(self, scope: AccessScope) -> bool:
        """Return whether the caller has `scope`."""
        return scope in self.scopes


ANONYMOUS = Principal()

UNAUTHENTICATED = Principal(owner="", role="viewer", scopes=frozenset())
"""The caller of a public address while AUTH=required: it may do nothing and owns nothing."""
