"""Headers in which model servers state the rest of their rate limits. Sans-IO.

Sources: https://platform.openai.com/docs/guides/rate-limits#rate-limits-in-headers (also Azure,
Groq, xAI), https://docs.anthropic.com/en/api/rate-limits#response-headers,
https://openrouter.ai/docs/api-reference/limits (one limit, of requests).
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

LimitUnit = Literal["requests", "tokens"]

# The unit, and the name with a place for remaining, limit or reset.
_NAMES: tuple[tuple[LimitUnit, str], ...] = (
    ("requests", "x-ratelimit-{}-requests"),
    ("tokens", "x-ratelimit-{}-tokens"),
    ("requests", "anthropic-ratelimit-requests-{}"),
    ("tokens", "anthropic-ratelimit-tokens-{}"),
    ("requests", "x-ratelimit-{}"),
    ("requests", "ratelimit-{}"),
)
_DURATION = re.compile(
    r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?", re.ASCII
)
_UNITS_S = (86_400.0, 3_600.0, 60.0, 1.0, 0.001)
_EPOCH_S, _EPOCH_MS = 1e9, 1e12  # larger numbers are moments since 1970
_LONGEST_S = 86_400.0


@dataclass(frozen=True, slots=True)
class RemainingRate:
    """The rest of a limit, and the seconds until it is complete again."""

    unit: LimitUnit
    remaining: int
    reset_s: float
    limit: int | None = None


def read_remaining_rates(headers: Mapping[str, str]) -> list[RemainingRate]:
    """Return the limits that a response states with their rest and reset, at most one of a unit."""
    found: dict[LimitUnit, RemainingRate] = {}
    for rate in _read_all(headers):
        known = found.get(rate.unit)
        if known is None or rate.remaining < known.remaining:
            found[rate.unit] = rate
    return list(found.values())


def _read_all(headers: Mapping[str, str]) -> Iterator[RemainingRate]:
    for unit, name in _NAMES:
        remaining = headers.get(name.format("remaining"))
        if remaining is None:
            continue
        left, limit = _read_count(remaining), _read_count(headers.get(name.format("limit"), ""))
        reset_s = read_reset_s(headers.get(name.format("reset"), ""))
        if left is not None and reset_s is not None:
            yield RemainingRate(unit, left, reset_s, limit)


def _read_count(text: str) -> int | None:
    text = text.strip()
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 16 else None


def read_reset_s(text: str) -> float | None:
    """Return the seconds until a reset; None for a text without a valid one.

    Forms: a duration ("6m0s", "120ms"), seconds, seconds or milliseconds since 1970, ISO 8601.
    """
    text = text.strip()
    seconds: float | None = None
    if text and (match := _DURATION.fullmatch(text)):
        pairs = zip(match.groups(), _UNITS_S, strict=True)
        seconds = sum(float(number) * unit for number, unit in pairs if number)
    else:
        with suppress(ValueError):
            seconds = _read_moment_s(text)
    if seconds is None or not seconds < _LONGEST_S:  # also not a number
        return None
    return max(0.0, seconds)


def _read_moment_s(text: str) -> float:
    if "T" in text:
        moment = datetime.fromisoformat(text)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return moment.timestamp() - time.time()
    number = float(text)
    if number >= _EPOCH_MS:
        return number / 1000 - time.time()
    return number - time.time() if number >= _EPOCH_S else number
