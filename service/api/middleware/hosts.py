"""The hosts that the service serves, and the pages that may use it: against attacks by browsers.

A page of another site can send requests to this service with the user's browser. Two checks in
front of every handler stop it:

- DNS rebinding points a name of the attacker to this machine, so that the attacker's page becomes
  the same origin as the service. Such a name is a public one, so only hosts that cannot be are
  served: IP addresses, single-label names, names of this machine, and those of ALLOWED_HOSTS.
- A cross-site request (a form, a script) cannot read the response but can cause a change. It is
  refused by `Origin` and `Sec-Fetch-Site`, which browsers send and pages cannot set.

Clients that are not browsers send neither header and a host that is their own choice.
Source: RFC 9110, 7.2; https://www.w3.org/TR/fetch-metadata/
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterable
from ipaddress import ip_address

from quart import Quart, has_request_context, request, websocket
from werkzeug.datastructures import Headers

from service.api.middleware.forwarded import find_original_host
from service.api.middleware.origins import Origins
from service.errors import RequestError

_log = logging.getLogger(__name__)

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class Hosts:
    """The served hosts; `allowed` are further names, `*.example.com` for subdomains, `*` for all.

    `own_names` are the names of this machine.
    """

    def __init__(self, allowed: Iterable[str], own_names: Iterable[str]) -> None:
        listed = {_normalize(each) for each in allowed}
        self._all = "*" in listed
        self._suffixes = tuple(each[1:] for each in listed if each.startswith("*."))
        self._names = listed | {_normalize(each) for each in own_names} - {""}

    def serve(self, host: str | None) -> bool:
        """Return whether a request with this `Host` header is served; it may be absent."""
        if self._all or not host:
            return True
        name = _normalize(_without_port(host))
        return (
            name in self._names
            or _cannot_be_public(name)
            or bool(self._suffixes and name.endswith(self._suffixes))
        )


def install(app: Quart, allowed_hosts: str, origins: Origins) -> None:
    """Check host and origin of every request and WebSocket handshake of `app`."""
    own = socket.gethostname()
    hosts = Hosts(allowed_hosts.split(","), (own, f"{own.partition('.')[0]}.local"))

    async def check() -> None:
        is_http = has_request_context()
        received = request if is_http else websocket
        headers = received.headers
        # A page can choose the host that a proxy passes on, but not the one of its own address.
        is_served = hosts.serve(find_original_host(received.scope))
        if not (is_served and hosts.serve(headers.get("Host"))):
            raise RequestError(
                "host_not_served", "This host is not served; list it in ALLOWED_HOSTS."
            )
        is_safe = is_http and request.method in _SAFE_METHODS
        if not is_safe and _is_cross_site(headers, origins):
            refusal = _describe_refusal(headers)
            if not is_http:  # browsers show a page neither status nor body of the handshake
                _log.warning("a WebSocket was refused: %s", refusal)
            raise RequestError("origin_not_allowed", refusal)

    app.before_request(check)
    app.before_websocket(check)


def _describe_refusal(headers: Headers) -> str:
    """Return why a page is refused, and the setting of the service or the proxy that permits it."""
    origin, host = (_make_printable(headers.get(name, "")) for name in ("Origin", "Host"))
    if not origin:
        return "Pages of other sites may not use this service; list them in ALLOWED_ORIGINS."
    return (
        f"Pages of {origin} may not use this service at {host}: list the origin in "
        "ALLOWED_ORIGINS. If it is the service's own address behind a proxy, let the proxy "
        "forward the Host header (nginx: proxy_set_header Host $http_host)."
    )


def _make_printable(value: str) -> str:
    return value.encode("ascii", "backslashreplace").decode()[:128]


def _is_cross_site(headers: Headers, origins: Origins) -> bool:
    """Return whether a page of another site sent this that ALLOWED_ORIGINS does not list."""
    named = headers.getlist("Origin")
    if not all(origins.allow(each, headers.get("Host")) for each in named):
        return True
    is_listed = bool(named) and all(origins.allow(each, None) for each in named)
    is_cross = headers.get("Sec-Fetch-Site", "").lower() == "cross-site"
    return is_cross and not is_listed and not origins.allows_all


def _cannot_be_public(name: str) -> bool:
    """Return whether no public DNS record can have this name."""
    if "." not in name and ":" not in name:
        return True  # a single label, such as a service of Compose or Kubernetes
    if name.endswith(".localhost"):  # browsers resolve it to loopback without DNS
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _without_port(host: str) -> str:
    if host.startswith("["):  # an IPv6 address
        return host[1:].partition("]")[0]
    name, colon, port = host.rpartition(":")
    return name if colon and ":" not in name and (port.isdigit() or not port) else host


def _normalize(name: str) -> str:
    return name.strip().lower().removesuffix(".")
