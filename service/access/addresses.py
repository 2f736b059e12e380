"""The address of a client behind proxies, from the connection and their reports. No I/O.

A proxy reports its client in `X-Forwarded-For` or in `Forwarded`. Any client can send these
headers, so they are read only from trusted proxies, from the last entry to the first: each entry
was added by the proxy behind it, and the first untrusted address is the client.
Source: RFC 7239; https://httpwg.org/specs/rfc9110.html#fields.list
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

Headers = Sequence[tuple[bytes, bytes]]

_MAX_HOPS: Final = 64  # proxies between a client and the service
_IPV6_SITE_BITS: Final = 64  # a customer of a provider has at least so many addresses
_SCHEMES: Final = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(:[0-9]{1,5})?")
_WITH_PORT = re.compile(r"\[([^\]]*)\](?::[0-9]*)?|([0-9.]+):[0-9]+")
# A pair of Forwarded: `for="[2001:db8::1]:443"`.
_PAIR = re.compile(r'\s*([A-Za-z]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s;,"]*))\s*')

# Headers that only a proxy adds. An untrusted peer that sends one is not the caller itself.
_PROXY_HEADERS: Final = frozenset(
    {
        b"forwarded", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-real-ip",
        b"via", b"cf-connecting-ip", b"true-client-ip",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Origination:
    """The origin of a request: the client's address, and what it asked the outermost proxy for.

    `scheme` and `host` are None unless a trusted proxy reported them. `is_direct`: no proxy is
    involved, or the trusted ones report the client; else `address` is that of a proxy.
    """

    address: str
    scheme: str | None = None
    host: str | None = None
    is_direct: bool = True


class TrustedProxies:
    """The proxies that are believed: addresses and networks, separated by commas.

    The constructor raises ValueError for a malformed one.
    """

    def __init__(self, networks: str) -> None:
        listed = (each.strip() for each in networks.split(","))
        self._networks = tuple(ip_network(each) for each in listed if each)

    def trust(self, address: str) -> bool:
        """Return whether `address` is that of a trusted proxy."""
        parsed = _parse(address)
        return parsed is not None and any(parsed in network for network in self._networks)

    def find_origin(self, peer: str, headers: Headers) -> Origination:
        """Return the origin of a request that came from the address `peer`."""
        peer = normalize(peer)
        reports = {name for name, _ in headers} & _PROXY_HEADERS
        if not reports:
            return Origination(peer)
        if not self._networks or not self.trust(peer):
            return Origination(peer, is_direct=False)
        if b"x-forwarded-for" in reports or b"forwarded" not in reports:
            return self._read_forwarded_for(peer, headers)
        return self._read_forwarded(peer, headers)

    def _read_forwarded_for(self, peer: str, headers: Headers) -> Origination:
        hops = _split_reversed(headers, b"x-forwarded-for")
        address, _, found = self._follow(peer, hops)
        scheme = next(_split_reversed(headers, b"x-forwarded-proto"), "")
        host = next(_split_reversed(headers, b"x-forwarded-host"), "")
        return Origination(address, _SCHEMES.get(scheme.lower()), _check_host(host), found)

    def _read_forwarded(self, peer: str, headers: Headers) -> Origination:
        """Read the `Forwarded` headers; the pairs of the client's own hop describe its request."""
        elements = [_parse_element(each) for each in _split_reversed(headers, b"forwarded")]
        address, count, found = self._follow(peer, (each.get("for", "") for each in elements))
        own = elements[count - 1] if count else {}
        scheme, host = own.get("proto", ""), own.get("host", "")
        return Origination(address, _SCHEMES.get(scheme.lower()), _check_host(host), found)

    def _follow(self, peer: str, hops: Iterable[str]) -> tuple[str, int, bool]:
        """Return the client's address, the number of hops up to it, and whether all are readable.

        `hops` are the reported addresses, that of the nearest proxy's client first. A hop without
        an address (`unknown`, an obfuscated name, anything else) hides its client: the proxy that
        reported it stands for it.
        """
        address = peer
        count = 0
        for count, hop in enumerate(hops, 1):
            parsed = _parse(hop)
            if parsed is None:
                return address, count, False
            address = str(parsed)
            if count == _MAX_HOPS or not any(parsed in network for network in self._networks):
                break
        return address, count, count > 0


def normalize(address: str) -> str:
    """Return an address in its canonical form; IPv4 in IPv6 becomes IPv4."""
    parsed = _parse(address)
    return address if parsed is None else str(parsed)


def is_loopback(address: str) -> bool:
    """Return whether an address is one of this machine's own loopback addresses."""
    parsed = _parse(address)
    return parsed is not None and parsed.is_loopback


@lru_cache(maxsize=1_024)
def counted_address(address: str) -> str:
    """Return the address or network that counts as one caller: /64 for IPv6."""
    parsed = _parse(address)
    if isinstance(parsed, IPv6Address):
        return str(IPv6Network((parsed, _IPV6_SITE_BITS), strict=False))
    return address if parsed is None else str(parsed)


def _parse(text: str) -> IPv4Address | IPv6Address | None:
    """Return the address of `1.2.3.4`, `1.2.3.4:80`, `::1`, `[::1]:80` or `fe80::1%eth0`."""
    text = text.strip().strip('"')
    if len(text) > 64:
        return None
    if found := _WITH_PORT.fullmatch(text):
        text = found[1] or found[2] or ""
    try:
        parsed = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (parsed.ipv4_mapped or parsed) if isinstance(parsed, IPv6Address) else parsed


def _split_reversed(headers: Headers, wanted: bytes) -> Iterator[str]:
    """Yield the elements of all header lines of one name, the last first, without empty ones."""
    for name, value in reversed(headers):
        if name == wanted:
            for part in reversed(_split_list(value.decode("latin-1"))):
                if element := part.strip():
                    yield element


def _split_list(value: str) -> list[str]:
    """Split at commas outside of quotes."""
    if '"' not in value:
        return value.split(",")
    return re.findall(r'(?:[^,"]|"(?:[^"\\]|\\.)*"?)+', value)


def _parse_element(element: str) -> dict[str, str]:
    """Return the pairs of an element of `Forwarded`, their names in lower case.

    An element with a malformed pair has none: a quote that a client leaves open in its own header
    would join the element of the proxy to that of the client.
    """
    pairs = {}
    for pair in re.findall(r'(?:[^;"]|"(?:[^"\\]|\\.)*"?)+', element):
        found = _PAIR.fullmatch(pair)
        if found is None:
            return {}
        quoted = found[2]
        pairs[found[1].lower()] = found[3] if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
    return pairs


def _check_host(host: str) -> str | None:
    return host if _HOST.fullmatch(host) else None
