"""Scopes: those of a role, of a key of that role, and of a route."""

from __future__ import annotations

import pytest

from service.access.principal import ANONYMOUS, UNAUTHENTICATED, Principal, Role
from service.access.scopes import RouteScope, is_allowed, limit_scopes


@pytest.mark.parametrize(
    ("role", "granted", "expected"),
    [
        ("admin", None, {"run", "read", "write", "keys", "admin"}),
        ("user", None, {"run", "read", "write", "keys"}),
        ("viewer", None, {"read"}),
        ("user", ["run"], {"run"}),
        ("user", [], set()),
        ("user", ["admin", "unknown"], set()),
        ("viewer", ["run", "read"], {"read"}),  # the user was demoted after the key was made
    ],
)
def test_a_key_has_at_most_the_scopes_of_its_users_role(
    role: Role, granted: list[str] | None, expected: set[str]
) -> None:
    assert limit_scopes(role, granted) == expected


@pytest.mark.parametrize(
    ("granted", "needed", "allowed"),
    [
        (["keys", "admin"], "run", False),  # such a key cannot ask models
        (["run"], "read", False),
        (["run"], "authenticated", True),
        ([], "authenticated", True),
        (["read"], "metrics", True),
        (["run"], "metrics", False),
    ],
)
def test_a_route_needs_its_scope(granted: list[str], needed: RouteScope, allowed: bool) -> None:
    caller = Principal(owner="u", role="admin", scopes=limit_scopes("admin", granted))
    assert is_allowed(caller, needed) is allowed


def test_the_metrics_of_all_users_are_for_administrators() -> None:
    assert not is_allowed(Principal(role="user", scopes=limit_scopes("user", None)), "metrics")
    assert is_allowed(ANONYMOUS, "metrics")


def test_a_caller_without_credential_has_no_scope_and_no_data() -> None:
    assert UNAUTHENTICATED.scopes == frozenset()
    assert UNAUTHENTICATED.owner == ""
