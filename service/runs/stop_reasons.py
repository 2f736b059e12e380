"""The reasons for which a run is stopped before its end."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StopReason:
    """The reason for which a run was stopped before its end."""

    code: str
    message: str


CANCELLED = StopReason("cancelled", "The run was cancelled.")
ABANDONED = StopReason("abandoned", "The run was stopped because no client was reading it.")
SHUTTING_DOWN = StopReason("shutting_down", "The service is shutting down; please ask again.")
INTERRUPTED = StopReason(
    "interrupted", "The service stopped before the run ended; its events until then are stored."
)
