"""Events as they are kept: lines, each a JSON array of events that follow one another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from service.events import Event

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[Event]).decode


def encode_events(events: Sequence[Event]) -> bytes:
    """Return `events` as one line, without its end."""
    return _encode(events)


def decode_events(lines: bytes) -> list[Event]:
    """Return the events of `lines`. Raises msgspec.DecodeError for what `encode` did not write."""
    return [event for line in lines.split(b"\n") for event in _decode(line)]


def join_lines(lines: Iterable[bytes]) -> bytes:
    """Return several lines as one block that `decode_events` takes."""
    return b"\n".join(lines)
