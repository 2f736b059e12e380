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
    """The service's own origin and those of `allowed`: separated by commas, or `*` for all.

    `https://*.example.com` are all subdomains, and `tauri://localhost` is the origin of an
    application or a browser extension. `moz-extension://*` is any of that scheme: browsers choose
    the rest at random. `null` is the origin of files and sandboxed frames; it must be listed too,
    unless `*` is, because a page of any site can have it.
    """

    def __init__(self, allowed: str) -> None:
        listed = {each.strip() for each in allowed.split(",")} - {""}
        self.allows_all = "*" in listed
        self._listed = {_parse(each) for each in listed} - {None}
        self._others = {_normalize(each) for each in listed if not _parse(each)}
        self._schemes = {each[:-1] for each in self._others if each.endswith("://*")}

    def allow(self, origin: str | None, host: str | None) -> bool:
        """Return whether a request to `host` may come from a page of `origin`."""
        if origin is None or self.allows_all:
            return True
        parsed = _parse(origin)
        if parsed is None:
            other = _normalize(origin)
            scheme = "".join(other.partition("://")[:2])
            return other in self._others or scheme in self._schemes
        # Behind a proxy with TLS the page's scheme differs from ours, but its Host is the same.
        is_own = bool(host) and parsed == _parse(f"{parsed[0]}://{host}")
        return is_own or parsed in self._listed or self._match_wildcard(*parsed)

    def _match_wildcard(self, scheme: str, host: str, port: int | None) -> bool:
        return any(
            (scheme, port) == (each[0], each[2]) and host.endswith(each[1][1:])
            for each in self._listed
            if each and each[1].startswith("*")
        )


def _normalize(origin: str) -> str:
    lowered = origin.lower()
    return lowered if lowered.endswith("://") else lowered.rstrip("/")


def _parse(origin: str) -> ParsedOrigin | None:
    """Return scheme, host and port of an origin; None unless it is an http(s) origin."""
    try:
        parts = urlsplit(origin)
        if parts.scheme not in _PORTS or not parts.hostname:
            return None
        return parts.scheme, parts.hostname, parts.port or _PORTS[parts.scheme]
    except ValueError:
        return None
