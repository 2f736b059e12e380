"""The cookies of web sessions, of known browsers and of forms, and the tokens against CSRF.

Over HTTPS a cookie has the prefix `__Host-`: browsers then accept it from this host alone, and send
it over HTTPS alone. Over plain HTTP (on the own machine, in a private network) browsers would drop
such a cookie, so it has another name there and no `Secure`. The scheme is that of the connection,
or the one that a trusted proxy reports; a page's `Origin` is evidence of HTTPS too.
Source: https://www.rfc-editor.org/rfc/rfc6265#section-4.1.2
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from quart import Response, request
from quart.wrappers.base import BaseRequestWebsocket

from service.access.opaque_tokens import is_csrf_token
from service.errors import RequestError

CSRF_HEADER: Final = "X-CSRF-Token"
_PREFIX: Final = "__Host-"
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class Cookie:
    """A cookie for this host. Scripts cannot read it, and other sites' requests lack it."""

    name: str

    @property
    def names(self) -> tuple[str, str]:
        """Its names over HTTPS and over plain HTTP."""
        return _PREFIX + self.name, self.name

    def read(self, received: BaseRequestWebsocket) -> str:
        """Return its value in a request, "" without one."""
        values = (received.cookies.get(name, "") for name in self._accepted_names(received))
        return next(filter(None, values), "")

    def read_all(self, received: BaseRequestWebsocket) -> list[str]:
        """Return all values in a request: two of one name are a sign of an attack."""
        for name in self._accepted_names(received):
            if values := [each for each in received.cookies.getlist(name) if each]:
                return values
        return []

    def set(self, response: Response, value: str, max_age_s: int | None = None) -> None:
        """Set it in the browser that sent the current request."""
        is_secure = _is_https(request)
        response.set_cookie(
            self.names[0] if is_secure else self.names[1],
            value,
            max_age=max_age_s,
            path="/",
            secure=is_secure,
            httponly=True,
            samesite="Lax",
        )

    def delete(self, response: Response) -> None:
        """Remove it from the browser that sent the current request."""
        self.set(response, "", 0)

    def _accepted_names(self, received: BaseRequestWebsocket) -> tuple[str, ...]:
        # Over HTTPS a cookie without the prefix may be from another host of the domain.
        return self.names[:1] if _is_https(received) else self.names


SESSION: Final = Cookie("lsse-session")
DEVICE: Final = Cookie("lsse-device")
FORM: Final = Cookie("lsse-form")


def check_csrf(session_token: str) -> None:
    """Raise RequestError 403 when the current request changes something without the token.

    A page of another site can send the cookie, and cannot know the token that is derived from it.
    """
    if request.method in _SAFE_METHODS:
        return
    if not is_csrf_token(request.headers.get(CSRF_HEADER, ""), session_token):
        raise RequestError(
            "csrf_token_missing",
            f"A request with a session cookie needs its csrf_token in the header {CSRF_HEADER}.",
        )


def _is_https(received: BaseRequestWebsocket) -> bool:
    if received.scheme in ("https", "wss"):
        return True
    return received.headers.get("Origin", "").lower().startswith("https://")
