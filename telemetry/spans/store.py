"""Spans and metrics of the store: its operations and the lag of the journal.

An operation is one transaction with its purpose, not one statement: the database's log has those.
"""

from asyncio import CancelledError
from time import monotonic
from typing import Literal, get_args

from opentelemetry.context import Context
from opentelemetry.trace import SpanKind

from telemetry import semconv
from telemetry.metrics.registry import Metrics
from telemetry.spans.operation import Attributes, Recorder, TimedSpan

System = Literal["sqlite", "postgresql", "redis"]
StoreOperationName = Literal[
    "open_run",
    "end_run",
    "commit",
    "signal_run",
    "read_run",
    "read_events",
    "read_conversation",
    "change_conversation",
    "list",
    "search",
    "count_tokens",
    "reserve",
    "read_accounts",
    "change_accounts",
    "read_audit",
    "read_usage",
    "read_feedback",
    "change_feedback",
    "maintain",
]
UnavailableReason = Literal["locked", "down", "slow", "full", "schema", "other"]
RecoveryOutcome = Literal["interrupted", "completed"]
ReservationOutcome = Literal["reserved", "refused", "settled"]


class StoreOperation(TimedSpan):
    """The CLIENT span of one store operation, named after the operation.

    The database conventions define this name for an operation without a target.

    Source: https://opentelemetry.io/docs/specs/semconv/db/database-spans/#name
    """

    __slots__ = ("_labels",)

    def __init__(
        self, recorder: Recorder, name: StoreOperationName, system: System, parent: Context
    ) -> None:
        attributes: Attributes = {semconv.DB_SYSTEM: system, semconv.DB_OPERATION: name}
        super().__init__(recorder, name, parent, attributes, SpanKind.CLIENT)
        self._labels = system, name

    def __enter__(self) -> "StoreOperation":
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, CancelledError):
            self.finish(cancelled=True)
        else:
            reason = getattr(error, "reason", None)
            self.finish(reason or (type(error).__name__ if error else None))

    def finish(self, error_type: str | None = None, *, cancelled: bool = False) -> None:
        """End the operation; later calls do nothing. `cancelled`: its caller stopped waiting.

        `error_type` is an `UnavailableReason` or the name of an exception class.
        """
        if self._ended:
            return
        self._ended = True
        error = "" if cancelled else error_type or ""
        duration = self._recorder.metrics.store_duration.child(*self._labels, error)
        self._observe(duration, self._elapsed_s())
        self._end(error=error, cancelled=cancelled, attributes={})


def initialize_series(metrics: Metrics) -> None:
    """Create the expected series at 0, so that a first event is an increase."""
    for reason in get_args(UnavailableReason):
        metrics.journal_failures.child(reason)
        metrics.store_rejections.child(reason)
    for outcome in get_args(RecoveryOutcome):
        metrics.recoveries.child(outcome)


class JournalMetrics:
    """Metrics of the events that are not durable yet: number, age, commits and failures."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._pending = 0
        self._oldest_at: float | None = None

    def set_pending(self, events: int, oldest_s: float) -> None:
        """Set the number of pending events and the age of the oldest in seconds.

        The age grows until the next call, so a journal that hangs is visible.
        """
        self._pending = events
        self._oldest_at = monotonic() - oldest_s if events else None

    def record_commit(self, lag_s: float) -> None:
        """Record a commit; `lag_s` is the age of its oldest event now."""
        self._metrics.journal_lag.observe(lag_s)

    def record_failure(self, reason: str) -> None:
        """Record a failed commit; it is retried unless `reason` is `other`, a bug."""
        self._metrics.journal_failures.child(reason).inc()

    def update_gauges(self) -> None:
        """Set the gauges to the pending events and their present age."""
        oldest_at = self._oldest_at
        self._metrics.journal_pending.set(self._pending)
        self._metrics.journal_oldest.set(0.0 if oldest_at is None else monotonic() - oldest_at)
