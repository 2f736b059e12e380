"""The visitor of a page: the caller, and what the page may offer to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from quart import request

from service.access.opaque_tokens import make_csrf_token
from service.access.principal import AccessScope, Principal
from service.api.middleware.cookies import SESSION

# Address, label, and the scope that a visitor needs to use the page.
_LINKS: Final[tuple[tuple[str, str, AccessScope], ...]] = (
    ("/web/chat", "Chat", "read"),
    ("/web/conversations", "Conversations", "read"),
    ("/web/account", "Account", "read"),
    ("/web/admin", "Administration", "admin"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """The caller of a page.

    `accounts_on`: whether the service has accounts; without them every visitor is the same
    anonymous caller with all scopes. `csrf_token` is what the forms and scripts of a session send
    back, "" without a session; `path` is that of the current request.
    """

    principal: Principal
    accounts_on: bool
    csrf_token: str
    path: str

    @property
    def links(self) -> list[tuple[str, str]]:
        """The address and label of each page in the navigation."""
        return [(path, label) for path, label, scope in _LINKS if self.may(scope)]

    @property
    def is_admitted(self) -> bool:
        """Whether the visitor may use more than the public pages."""
        return bool(self.principal.scopes)

    @property
    def name(self) -> str:
        """The name of the user, "" for the anonymous caller."""
        return self.principal.user or ""

    def may(self, scope: AccessScope) -> bool:
        """Return whether a page may offer an action that needs `scope`."""
        return self.principal.may(scope)


def current_csrf_token() -> str:
    """Return the token against CSRF of the session in the current request, "" without one."""
    session = SESSION.read(request)
    return make_csrf_token(session) if session else ""
