"""The credentials of a request in `/openapi.json`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from service.access.scopes import RouteScope

SECURITY_SCHEMES: Final[Mapping[str, Any]] = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key (`sk-lsse-…`), the `API_KEY` of the settings, or a JWT.",
    },
    "apiKey": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "The same in a header of its own.",
    },
}


def security_of(scope: RouteScope) -> dict[str, Any]:
    """Return the credentials of a route, each with the scope that it needs.

    The empty alternative stands for `AUTH=off`.
    Source: https://spec.openapis.org/oas/v3.1.0#security-requirement-object
    """
    if scope == "public":
        return {"security": []}
    names = [] if scope == "authenticated" else ["read" if scope == "metrics" else scope]
    return {"security": [{"bearer": names}, {"apiKey": names}, {}]}
