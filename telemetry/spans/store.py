"""The store as telemetry sees it: its operations, and how far the journal is behind.

An operation is a transaction and what it is for, not a statement: a database's own log has those.
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
    "maintain",
]
UnavailableReason = Literal["locked", "down", "slow", "full", "schema", "other"]
RecoveryOutcome = Literal["interrupted", "completed"]


class StoreOperation(TimedSpan):
    """One operation: a CLIENT span named after it, as the convention has it without a target.

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
        """End the operation; only the first call counts. `cancelled`: no caller waits for it.

        `error_type` is an `UnavailableReason` or the name of an exception class.
        """
        if self._ended:
            return
        self._ended = True
        error = "" if cancelled else error_type or ""
        duration = self._recorder.metrics.store_duration.child(*self._labels, error)
        self._observe(duration, self._since_start())
        self._end(error=error, cancelled=cancelled, attributes={})


def expect(metrics: Metrics) -> None:
    """Put what may be counted on the page at 0, so that the first one shows as an increase."""
    for reason in get_args(UnavailableReason):
        metrics.journal_failures.child(reason)
        metrics.store_rejections.child(reason)
    for outcome in get_args(RecoveryOutcome):
        metrics.recoveries.child(outcome)


class JournalMetrics:
    """How much of what was said is not durable yet, and since when."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._pending = 0
        self._since: float | None = None

    def set_pending(self, events: int, oldest_s: float) -> None:
        """Note what waits: how many events, and the age of the oldest, in seconds.

        It goes on ageing by itself: a journal that hangs need not say so.
        """
        self._pending = events
        self._since = monotonic() - oldest_s if events else None

    def record_commit(self, lag_s: float) -> None:
        """Observe a commit; `lag_s` is the age of its oldest event by now."""
        self._metrics.journal_lag.observe(lag_s)

    def record_failure(self, reason: str) -> None:
        """Count a commit that failed; it is tried again unless `reason` is `other`, a bug."""
        self._metrics.journal_failures.child(reason).inc()

    def show(self) -> None:
        """Put what waits on the page."""
        since = self._since
        self._metrics.journal_pending.set(self._pending)
        self._metrics.journal_oldest.set(0.0 if since is None else monotonic() - since)
