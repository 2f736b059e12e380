"""Addresses of model servers: their normal form, the endpoint below them, and local ones. No I/O.

An error never contains the address: it may have a password.
"""

from __future__ import annotations

import ipaddress
from contextlib import suppress
from urllib.parse import SplitResult, parse_qsl, urlsplit, urlunsplit

_ENDPOINT = "/chat/completions"
_PORTS = {"http": 80, "https": 443}
# Ends of other addresses that users copy from a server's documentation.
_OTHER_ENDPOINTS = (
    "/completions", "/responses", "/embeddings", "/models", "/messages", "/api/chat",
    "/api/generate", "/api/tags",
)  # fmt: skip
_SECRET_PARAMETERS = frozenset(
    {
        "key", "api_key", "api-key", "apikey", "token", "access_token", "auth", "secret",
        "password", "subscription-key",
    }
)  # fmt: skip
_LOCAL_SUFFIXES = (".local", ".localhost", ".localdomain", ".lan", ".internal", ".home.arpa")
_SHARED_ADDRESSES = ipaddress.ip_network("100.64.0.0/10")  # RFC 6598; Tailscale uses it


def parse_base_url(text: str) -> str:
    """Return the address of a server in its normal form, to which `chat_endpoint` applies.

    An address of the endpoint itself is accepted, and a query is retained. Raises ValueError with
    the reason, which follows the name of the setting: "has no host".
    """
    text = text.strip()
    if any(char <= " " or char == "\x7f" for char in text):
        raise ValueError("is not an http or https address: it contains white space")
    if not text.lower().startswith(("http://", "https://")):
        raise ValueError("is not an http or https address, such as https://host/v1")
    parts = _split(text)
    _check_secrets(parts)
    path = parts.path.rstrip("/")
    if path.lower().endswith(_ENDPOINT):
        path = path[: -len(_ENDPOINT)].rstrip("/")
    for other in _OTHER_ENDPOINTS:
        if path.lower().endswith(other):
            raise ValueError(f"ends in {other}: end it before that, as in https://host/v1")
    return urlunsplit((parts.scheme.lower(), parts.netloc, path, parts.query, ""))


def chat_endpoint(base_url: str) -> str:
    """Return the address of chat completions below `base_url`, before its query."""
    parts = urlsplit(base_url)
    return urlunsplit(parts._replace(path=parts.path.rstrip("/") + _ENDPOINT))


def normalize_endpoint(base_url: str) -> str:
    """Return the form of a valid `base_url` that is equal for all spellings of one endpoint.

    Scheme and host are in lower case, and the scheme's port, a slash at the end and the query are
    left out.
    """
    parts = urlsplit(base_url)
    host = (parts.hostname or "").rstrip(".")
    with suppress(UnicodeError):  # an invalid name remains as it is
        host = host if host.isascii() else host.encode("idna").decode()
    host = f"[{host}]" if ":" in host else host
    port = parts.port
    netloc = host if port in (None, _PORTS.get(parts.scheme)) else f"{host}:{port}"
    return urlunsplit((parts.scheme, netloc, parts.path.rstrip("/"), "", ""))


def host_of(url: str) -> str:
    """Return the host of an http or https address in lower case; "" for any other text."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises ValueError for an invalid port
    except ValueError:
        return ""
    return (parts.hostname or "") if parts.scheme in {"http", "https"} else ""


def is_local(host: str) -> bool:
    """Return whether a host is this machine or in a private network.

    Names without a dot are services of Compose or Kubernetes, or machines of the local network.
    """
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return bool(host) and ("." not in host.rstrip(".") or host.endswith(_LOCAL_SUFFIXES))
    mapped = getattr(address, "ipv4_mapped", None) or address
    return bool(mapped.is_private or mapped.is_loopback or mapped.is_link_local) or (
        mapped.version == 4 and mapped in _SHARED_ADDRESSES
    )


def _split(text: str) -> SplitResult:
    """Return the parts of an address with a valid host and port. Raises ValueError."""
    reason, parts = "the host is not a valid name", None
    try:
        parts = urlsplit(text)
        host = parts.hostname or ""
        if not host.strip("."):
            reason, parts = "it has no host", None
        elif not host.isascii():
            host.encode("idna")
    except ValueError:  # its message may contain the password
        parts = None
    try:
        if parts and parts.port == 0:
            reason, parts = "the port is not a number from 1 to 65535", None
    except ValueError:
        reason, parts = "the port is not a number from 1 to 65535", None
    if parts is None:
        raise ValueError(f"is not an http or https address: {reason}")
    return parts


def _check_secrets(parts: SplitResult) -> None:
    if "@" in parts.netloc:
        raise ValueError(
            "contains a user name or a password: put name:password into the variable that key_env "
            'names, and set key_header = "Authorization: Basic"'
        )
    for name, _ in parse_qsl(parts.query, keep_blank_values=True):
        if name.lower() in _SECRET_PARAMETERS:
            raise ValueError(
                f"contains a key in its query ({name}): put it into the variable that key_env "
                "names; key_header names its header"
            )
