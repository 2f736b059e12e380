"""The state of a service, as its health and metrics addresses report it."""

from __future__ import annotations

from tests._support.clients.api import (
    Api,
)


async def is_draining(api: Api) -> bool:
    return (await api.http.get("/health/ready")).status_code == 503


async def has_no_streams(api: Api) -> bool:
    return "\nfanout_open_streams 0.0" in (await api.http.get("/metrics")).text
