"""Proxies for calls to model servers, from the variables that other programs use for them too.

HTTP_PROXY and HTTPS_PROXY are for addresses of their scheme, ALL_PROXY for both; NO_PROXY lists
hosts that are called directly. Names in lower case take precedence. Calls to this machine never use
a proxy. aiohttp's own support (`trust_env`) is not used: it reads a file for every request, adds
passwords from it, and ignores ALL_PROXY.
Source: https://everything.curl.dev/usingcurl/proxies/env.html
"""

from __future__ import annotations

import ipaddress
from base64 import b64encode
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

import aiohttp
import httpx

from service.llm.transport import UpstreamTransport
from service.settings import SettingsError
from telemetry import register_secret


class ProxyRules:
    """The proxy of each address. Create it with `read_proxies`."""

    def __init__(self, proxies: Mapping[str, str], bypassed: str) -> None:
        self._proxies = proxies  # by scheme
        self._bypassed = [each.lower() for each in bypassed.replace(",", " ").split()]
        self._found: dict[tuple[str, str, int | None], str | None] = {}

    def find(self, scheme: str, host: str, port: int | None) -> str | None:
        """Return the URL of the proxy for calls of a server, None if it is called directly."""
        origin = (scheme, host, port)
        if origin not in self._found:
            self._found[origin] = self._choose(scheme, host.lower(), port)
        return self._found[origin]

    def find_name(self, url: str) -> str | None:
        """Return the host and port of the proxy for calls of `url`, None if there is none."""
        parts = urlsplit(url)
        proxy = self.find(parts.scheme, parts.hostname or "", parts.port)
        return _name_proxy(proxy) if proxy else None

    def _choose(self, scheme: str, host: str, port: int | None) -> str | None:
        port = port or (443 if scheme == "https" else 80)
        is_direct = _is_loopback(host) or any(_matches(each, host, port) for each in self._bypassed)
        return None if is_direct else self._proxies.get(scheme)


def read_proxies(variables: Mapping[str, str]) -> ProxyRules:
    """Return the proxies that `variables` name. Raises SettingsError for an unusable one."""
    proxies = {}
    for scheme in ("http", "https"):
        for name in (f"{scheme}_proxy", "all_proxy"):
            if value := _read(variables, name):
                proxies[scheme] = _parse_proxy(name.upper(), value)
                break
    return ProxyRules(proxies, _read(variables, "no_proxy"))


class ProxyingTransport(httpx.AsyncBaseTransport):
    """A transport that calls each server directly or through its proxy."""

    def __init__(self, rules: ProxyRules) -> None:
        self._rules = rules
        self._transports: dict[str | None, UpstreamTransport] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request. Raises httpx.ProxyError if its proxy refuses or cannot be reached."""
        url = request.url
        proxy = self._rules.find(url.scheme, url.host, url.port)
        transport = self._transports.get(proxy)
        if transport is None:
            made = _make_proxy(proxy) if proxy else None
            transport = self._transports[proxy] = UpstreamTransport(made)
        try:
            return await transport.handle_async_request(request)
        except httpx.TransportError as error:
            reason = _describe_failure(error.__cause__)
            if proxy is None or reason is None:
                raise
            raise httpx.ProxyError(f"the proxy {_name_proxy(proxy)} {reason}") from error

    async def aclose(self) -> None:
        """Close all connections."""
        for transport in self._transports.values():
            await transport.aclose()


def _make_proxy(url: str) -> httpx.Proxy:
    """Return a proxy whose name and password are in a header: aiohttp deprecates other forms.

    aiohttp sends it as `Proxy-Authorization`, to the proxy only.
    """
    parts = urlsplit(url)
    address = f"http://{_name_proxy(url)}"
    if parts.username is None:
        return httpx.Proxy(address)
    login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return httpx.Proxy(
        address, headers={"Authorization": f"Basic {b64encode(login.encode()).decode()}"}
    )


def _name_proxy(url: str) -> str:
    """Return the host and port of a proxy, without its password."""
    return urlsplit(url).netloc.rpartition("@")[2]


def _describe_failure(error: BaseException | None) -> str | None:
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"answered {error.status} {error.message}".strip()
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return "does not accept connections"
    return None


def _read(variables: Mapping[str, str], name: str) -> str:
    """Return a variable; one in lower case applies also if it is empty."""
    return variables.get(name, variables.get(name.upper(), "")).strip()


def _parse_proxy(name: str, value: str) -> str:
    url = value if "://" in value else f"http://{value}"
    try:
        parts = urlsplit(url)
        is_valid = bool(parts.hostname) and parts.port != 0
        password = parts.password
    except ValueError:
        is_valid = False
    if not is_valid:
        raise SettingsError(f"{name}: must look like http://host:3128")
    if parts.scheme.lower() != "http":
        raise SettingsError(f"{name}: only http proxies are supported, such as http://host:3128")
    if password:
        register_secret(unquote(password))
    return url


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _matches(entry: str, host: str, port: int) -> bool:
    """Return whether an entry of NO_PROXY is for a host.

    An entry is `*`, a name with all names below it, an address or a network, perhaps with a port.
    """
    if entry == "*":
        return True
    name, _, last = entry.rpartition(":")
    if name and last.isdecimal() and (name.endswith("]") or ":" not in name):
        if int(last) != port:
            return False
        entry = name
    entry = entry.strip("[]")
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        suffix = entry.lstrip("*").lstrip(".")
        return host == suffix or host.endswith(f".{suffix}")
