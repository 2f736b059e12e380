"""The stop of an evaluation: its first reason counts, and no further request is sent."""

from __future__ import annotations

from service.evaluation.results import StopReason


class Halt:
    """Whether, and why, an evaluation stops. Runs that are open already may end."""

    def __init__(self) -> None:
        self.reason: StopReason | None = None
        self.message = ""

    def __bool__(self) -> bool:
        """Return whether the evaluation stops."""
        return self.reason is not None

    def stop(self, reason: StopReason, message: str) -> None:
        """Stop for `reason`, unless there is an earlier one."""
        if self.reason is None:
            self.reason, self.message = reason, message
