"""Subjects: the users, keys and addresses that limits count."""

from __future__ import annotations

from service.access.addresses import counted_address
from service.access.principal import Principal


def subject_of(principal: Principal) -> str:
    """Return the subject of a caller: the user, or the address of a caller without an account."""
    if principal.method == "anonymous":
        return subject_of_address(principal)
    if principal.method == "static_key":
        return "static_key"
    return f"user:{principal.owner}"


def subject_of_key(key_id: str) -> str:
    """Return the subject of a key."""
    return f"key:{key_id}"


def subject_of_address(principal: Principal) -> str:
    """Return the subject of the address of a caller, for IPv6 that of its network."""
    return f"address:{counted_address(principal.address)}"
