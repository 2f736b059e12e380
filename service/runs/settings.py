"""The limits of runs, and the idempotency key of a request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

# Called with the ensemble of a run that starts; raises RequestError to refuse it.
Admit = Callable[[str], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of one process: counts of open runs and of earlier exchanges; the rest in seconds."""

    open_runs: int
    exchanges: int
    retention_s: float
    idempotency_s: float
    detach_grace_s: float
    keep_alive_s: float


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """A client's key with the fingerprint of its request.

    `bound_to` is the failed or interrupted run that the new run replaces under this key.
    """

    key: str
    fingerprint: bytes
    bound_to: str | None = None


async def admit_all(_ensemble: str) -> None:
    """Admit every run."""
