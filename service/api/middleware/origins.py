"""The origins of pages that may change something, open WebSockets and read responses.

A browser lets any page send a form or open a WebSocket to any server, with the user's cookies,
and only adds the page's origin. Other clients send no `Origin`.
Source: RFC 6455, 10.2
"""

from __future__ import annotations

from urllib.parse import urlsplit

_PORTS = {"http": 80, "https": 443}

ParsedOrigin = tuple[str, str, int | None]  # scheme, host, port


class Origins:
    """The service's own origin and those of `allowed`: separated by commas, or `*` for all."""

    def __init__(self, allowed: str) -> None:
        listed = {each.strip() for each in allowed.split(",")} - {""}
        self.allows_all = "*" in listed
        self._listed = {_parse(each) for each in listed} - {None}
        # Of an application or a browser extension, such as `tauri://localhost`.
        self._others = {each.lower().rstrip("/") for each in listed if not _parse(each)}

    def allow(self, origin: str | None, host: str | None) -> bool:
        """Return whether a request to `host` may come from a page of `origin`."""
        if origin is None or self.allows_all:
            return True
        parsed = _parse(origin)
        if parsed is None:
            return origin.lower() in self._others
        # Behind a proxy with TLS the page's scheme differs from ours, but its Host is the same.
        return parsed in self._listed or (bool(host) and parsed == _parse(f"{parsed[0]}://{host}"))


def _parse(origin: str) -> ParsedOrigin | None:
    """Return scheme, host and port of an origin; None unless it is an http(s) origin."""
    try:
        parts = urlsplit(origin)
        if parts.scheme not in _PORTS or not parts.hostname:
            return None
        return parts.scheme, parts.hostname, parts.port or _PORTS[parts.scheme]
    except ValueError:
        return None
