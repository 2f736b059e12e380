"""The scopes of a role, of a key or token that restricts them, and of a route that needs one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, get_args

from service.access.principal import ALL_SCOPES, AccessScope, Principal, Role

RouteScope = AccessScope | Literal["public", "authenticated", "metrics"]
"""The scope that a route needs.

`public`: no credential is read. `authenticated`: any valid credential. `metrics`: the figures of
all users, for an administrator's key with the scope `read`, so that a scraper needs no more.
"""

ROLE_SCOPES: Mapping[Role, frozenset[AccessScope]] = {
    "admin": ALL_SCOPES,
    "user": frozenset({"run", "read", "write", "keys"}),
    "viewer": frozenset({"read"}),
}

ROLES: tuple[Role, ...] = get_args(Role)


def limit_scopes(role: Role, granted: Iterable[str] | None) -> frozenset[AccessScope]:
    """Return the scopes of `role` that are also `granted`; None grants all of them."""
    of_role = ROLE_SCOPES[role]
    return of_role if granted is None else of_role.intersection(granted)


def is_allowed(principal: Principal, needed: RouteScope) -> bool:
    """Return whether a caller with a valid credential may use a route that needs `needed`."""
    if needed in ("public", "authenticated"):
        return True
    if needed == "metrics":
        return principal.role == "admin" and principal.may("read")
    return needed in principal.scopes
