"""Which pages may open a WebSocket here.

Browsers let any page open one to any server, with its user's cookies, and only tell the server
where the page is from. Who is not a browser sends no Origin.
Source: RFC 6455, 10.2
"""

from __future__ import annotations

from urllib.parse import urlsplit

_PORTS = {"http": 80, "https": 443}

Place = tuple[str, str, int | None]


class Origins:
    """The pages of this very host, and those of `allowed`: origins with commas, or `*` for all."""

    def __init__(self, allowed: str) -> None:
        named = {each.strip() for each in allowed.split(",")} - {""}
        self._all = "*" in named
        self._places = {_place(each) for each in named} - {None}

    def allow(self, origin: str | None, host: str | None) -> bool:
        """Return whether a request to `host` may come from a page of `origin`."""
        if origin is None or self._all:
            return True
        place = _place(origin)
        if place is None:
            return False
        # Behind a proxy that speaks TLS the page's scheme is not ours, but its Host is.
        return place in self._places or (bool(host) and place == _place(f"{place[0]}://{host}"))


def _place(origin: str) -> Place | None:
    """Return scheme, host and port of an origin, None if it is not one of the web's."""
    try:
        parts = urlsplit(origin)
        if parts.scheme not in _PORTS or not parts.hostname:
            return None
        return parts.scheme, parts.hostname, parts.port or _PORTS[parts.scheme]
    except ValueError:
        return None
