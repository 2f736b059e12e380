"""The `user_id` of sessions: the caller's own with accounts, else a label that the caller chooses.

Applications that know their users, such as the holder of the static key, store sessions of many
users as one caller. A user with an account can name only themselves: every session that such a
caller sees is its own, whatever its label.
"""

from __future__ import annotations

from service.access.principal import JWT_OWNER_PREFIX, Principal
from service.api.history.owned import conversation_not_found
from service.errors import RequestError

_MAX_CHARS = 256  # the limit of `body.Label`
_LABELLING_METHODS = frozenset({"anonymous", "static_key"})


def chooses_labels(principal: Principal) -> bool:
    """Return whether the caller may name any user: applications and administrators."""
    return principal.method in _LABELLING_METHODS or principal.role == "admin"


def check_named(principal: Principal, user_id: str | None) -> None:
    """Raise RequestError 403 when the caller may not name `user_id` as the user of a session."""
    if user_id is not None and not _is_own(principal, user_id):
        raise RequestError(
            "forbidden", "user_id must be the caller's own; only an administrator may name others."
        )


def select_labels(principal: Principal, user_id: str) -> list[str | None] | None:
    """Return the labels of the caller's sessions to list, None for all of them.

    None in the list stands for sessions without a user. Raises RequestError 404 for another user,
    and for what is no id.
    """
    if not user_id.strip() or "\0" in user_id or len(user_id) > _MAX_CHARS:
        raise RequestError("not_found", "There is nothing at this address.")
    if chooses_labels(principal):
        return [user_id, None] if user_id == principal.owner else [user_id]
    if not _is_own(principal, user_id):
        raise conversation_not_found()
    return None


def _is_own(principal: Principal, user_id: str) -> bool:
    own = {principal.owner, principal.user, principal.owner.removeprefix(JWT_OWNER_PREFIX)}
    return chooses_labels(principal) or user_id in own
