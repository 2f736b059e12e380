"""The stored format of events: lines, each a JSON array of consecutive events."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from service.events import Event

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[Event]).decode


def encode_events(events: Sequence[Event]) -> bytes:
    """Return `events` as one line, without a newline at its end."""
    return _encode(events)


def decode_events(lines: bytes) -> list[Event]:
    """Return the events of `lines`. Raises msgspec.DecodeError for other content."""
    return [event for line in lines.split(b"\n") for event in _decode(line)]


def join_lines(lines: Iterable[bytes]) -> bytes:
    """Return several lines as one block for `decode_events`."""
    return b"\n".join(lines)
