"""What a process takes on, how long things are kept, and what a caller's key is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds. Seconds, but for the two that count runs and earlier exchanges."""

    open_runs: int
    exchanges: int
    retention_s: float
    idempotency_s: float
    detach_grace_s: float
    keep_alive_s: float


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """A caller's key, a fingerprint of the request it came with, and the run it has so far."""

    key: str
    fingerprint: bytes
    bound_to: str | None = None
