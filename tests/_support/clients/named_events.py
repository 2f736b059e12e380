"""A strict parser of the sessions API's named events."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx

from tests._support.clients.api import KEEP_ALIVE

_EVENT = re.compile(rb"event: (session|message|done|error)\ndata: (\{[\x20-\x7e]*\})\n\n")


@dataclass(frozen=True)
class Named:
    """An event of the sessions API."""

    name: str
    data: dict[str, Any]


def named_event(block: bytes) -> Named:
    match = _EVENT.fullmatch(block)
    assert match, block
    return Named(match[1].decode(), json.loads(match[2]))


def named_events(body: bytes) -> list[Named]:
    """Return the events of a whole stream; nothing but keep-alive comments may be between."""
    blocks = body.split(b"\n\n")
    assert blocks.pop() == b"", "the stream broke off inside an event"
    whole = [block + b"\n\n" for block in blocks]
    return [named_event(block) for block in whole if block != KEEP_ALIVE]


async def following(response: httpx.Response) -> AsyncIterator[Named]:
    """Yield the events of an open stream as they come."""
    buffer = b""
    async for block in response.aiter_raw():
        buffer += block
        while b"\n\n" in buffer:
            whole, _, buffer = buffer.partition(b"\n\n")
            if whole + b"\n\n" != KEEP_ALIVE:
                yield named_event(whole + b"\n\n")
    assert buffer == b"", "the stream broke off inside an event"


def names(events: list[Named]) -> list[str]:
    """Return the events' names, each once for as long as it is repeated."""
    found = [event.name for event in events]
    return [name for at, name in enumerate(found) if at == 0 or found[at - 1] != name]


def text_of(events: list[Named]) -> str:
    return "".join(event.data["chunk"] for event in events if event.name == "message")
