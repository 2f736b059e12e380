"""Identifiers that sort by time and cannot be guessed."""

from __future__ import annotations

import secrets
import time


def new_id(prefix: str) -> str:
    """Return `prefix_` and 32 hex digits: 48 bits of Unix milliseconds, 80 random bits."""
    return f"{prefix}_{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"
