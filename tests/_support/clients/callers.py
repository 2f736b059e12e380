"""Callers with addresses of their own, behind a proxy that the service trusts; rules for them."""

from __future__ import annotations

from itertools import count
from typing import Any

import httpx

from tests._support.clients.api import Api, asking

PROXIED = {"TRUSTED_PROXIES": "127.0.0.1"}

# Each test takes addresses that no other has used: counters outlive it.
_NUMBERS = count(1)

ONE_PER_HOUR, SEVERAL, STREAMS, ENSEMBLE, ALL = "10.1", "10.2", "10.3", "10.4", "10.5"
RULES = f"""
[[rules]]
name = "one-per-hour"
match = {{ address = "{ONE_PER_HOUR}.0.0/16", route = ["/api/process", "/chat", "/stream",
  "/conversation", "/v1/chat/completions", "/v1/responses", "/api/runs/*/retry"] }}
requests = "1/hour"

[[rules]]
name = "several"
match.address = "{SEVERAL}.0.0/16"
match.route = "/api/process"
requests = "3/hour"

[[rules]]
name = "open"
match.address = "{STREAMS}.0.0/16"
requests = "1000/minute"
streams = 2

[[rules]]
name = "one-ensemble"
match = {{ address = "{ENSEMBLE}.0.0/16", ensemble = "solo" }}
requests = "1/day"

[[rules]]
name = "elsewhere"
match.address = "{ENSEMBLE}.0.0/16"
requests = "100/day"

[[rules]]
name = "all-requests"
match.address = "{ALL}.0.0/16"
requests = "2/hour"
"""


def new_address(network: str = "198.51") -> str:
    """Return an address that no request has come from, in a network of RULES or in none."""
    number = next(_NUMBERS)
    return f"{network}.{number // 250}.{number % 250 + 1}"


def come_from(address: str) -> dict[str, str]:
    """Return the headers of a request that a proxy forwards for `address`."""
    return {"X-Forwarded-For": address}


async def ask_from(api: Api, address: str, **fields: Any) -> httpx.Response:
    """Ask one question from `address` and return the complete response."""
    body = asking(**{"ensemble": "solo", **fields})
    return await api.http.post("/api/process", json=body, headers=come_from(address))
