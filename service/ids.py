"""Identifiers that sort by time and cannot be guessed."""

from __future__ import annotations

import secrets
import time


def new_id(prefix: str) -> str:
    """Return `prefix_` and 32 hex digits: 60 bits of Unix time, 68 random bits.

    The time consists of milliseconds and 4,096ths of a millisecond, as in a UUID of version 7.
    Source: RFC 9562, 6.2, method 3
    """
    ms, ns = divmod(time.time_ns(), 1_000_000)
    return f"{prefix}_{ms:012x}{ns * 4096 // 1_000_000:03x}{secrets.randbits(68):017x}"
