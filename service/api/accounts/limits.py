"""The field `limits` of users and keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from service.access.principal import Principal
from service.api.http.body import invalid_request
from service.errors import FieldError
from service.limits.tables import check_stored_limits, find_excess


def check_limits(limits: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Return limits as they are stored. Raises RequestError 400."""
    if limits is None:
        return None
    try:
        return check_stored_limits(limits)
    except ValueError as error:
        raise invalid_request([FieldError("limits", str(error))]) from None


def check_own_limits(
    limits: Mapping[str, Any] | None, principal: Principal
) -> Mapping[str, Any] | None:
    """Return the limits of a key as they are stored.

    Raises RequestError 400 for limits above those of the caller, unless it is an administrator.
    """
    checked = check_limits(limits)
    own = principal.user_limits
    if checked and own and not principal.may("admin") and (kind := find_excess(checked, own)):
        raise invalid_request([FieldError("limits", f"{kind}: is above the caller's own")])
    return checked
