"""The address and the headers of requests, computed once for each server and key."""

from __future__ import annotations

from base64 import b64encode
from functools import lru_cache
from urllib.parse import urlsplit

import httpx

from service.base_url import chat_endpoint
from service.version import VERSION

_HEADERS = {
    "Content-Type": "application/json",
    "Accept": "text/event-stream, application/json",
    "Accept-Encoding": "identity",
    "User-Agent": f"llm-sse-service/{VERSION}",
}


@lru_cache(maxsize=256)
def find_endpoint(base_url: str) -> httpx.URL:
    """Return the address of chat completions. Raises httpx.InvalidURL."""
    return httpx.URL(chat_endpoint(base_url))


@lru_cache(maxsize=256)
def find_server(base_url: str) -> tuple[str, int]:
    """Return the host and the port of a server."""
    server = urlsplit(base_url)
    return server.hostname or "", server.port or (443 if server.scheme == "https" else 80)


@lru_cache(maxsize=256)
def make_headers(key: str | None, key_header: str) -> httpx.Headers:
    """Return the headers of every request with this key; httpx copies them.

    Basic authentication encodes the key, as name:password. Raises ValueError for other characters
    than ASCII.
    """
    if not key:
        return httpx.Headers(_HEADERS)
    name, _, scheme = key_header.partition(": ")
    is_basic = scheme.lower() == "basic" and ":" in key
    value = b64encode(key.encode()).decode() if is_basic else key
    return httpx.Headers({**_HEADERS, name: f"{scheme} {value}" if scheme else value})
