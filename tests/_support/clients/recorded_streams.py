"""Event streams that a test reads in part and compares byte by byte."""

from __future__ import annotations

from typing import Any

from tests._support.clients.api import (
    Api,
    Event,
    follow,
)


def raw(events: list[Event]) -> bytes:
    return b"".join(event.raw for event in events)


async def read_until(api: Api, event_type: str, **fields: Any) -> list[Event]:
    """Ask, read until an event of this type has come, and leave."""
    received = []
    async with api.asked(**fields) as response:
        async for event in follow(response):
            received.append(event)
            if event.type == event_type:
                break
    return received
