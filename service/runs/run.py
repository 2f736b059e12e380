"""One run: a question with its log, and the number of its readers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from service.domain import AgentReport, Answer, RequestOptions
from service.errors import RunError, drop_tracebacks
from service.events import (
    AgentFailed,
    AgentFinished,
    AgentSkipped,
    AnswerDelta,
    Event,
    RunFailed,
    RunFinished,
)
from service.runs.log import RunLog
from service.runs.stop_reasons import ABANDONED, INTERRUPTED, SHUTTING_DOWN, StopReason
from service.store.budgets.records import BudgetState
from service.strategies.base import Kit
from telemetry import build_detached_context

_log = logging.getLogger(__name__)

_FIRST_READER_S = 5.0  # at least; a response needs a moment to start


@dataclass(eq=False, kw_only=True)
class Run:
    """A run with its log. `trace_id` is 32 hex digits, `created_at` is UTC.

    `budgets` are those that it has reserved from, as they were after its reservation.
    """

    id: str
    owner: str
    message_id: str
    conversation_id: str
    ensemble_name: str
    config_hash: str
    trace_id: str
    created_at: datetime
    retry_of: str | None = None
    options: RequestOptions = field(default_factory=RequestOptions)
    log: RunLog
    readers: int = 0
    budgets: Sequence[BudgetState] = ()

    @property
    def elapsed_ms(self) -> float:
        """The milliseconds since the run was created."""
        elapsed_s = (datetime.now(UTC) - self.created_at).total_seconds()
        return round(max(0.0, elapsed_s) * 1000, 1)  # another machine's clock may be ahead

    @property
    def is_complete(self) -> bool:
        """Whether the log has all events so far."""
        return True

    @property
    def was_interrupted(self) -> bool:
        """Whether its worker ended before the run did."""
        last = self.log.after(self.log.last_seq - 1)
        return any(isinstance(end, RunFailed) and end.code == INTERRUPTED.code for end in last)

    def attach(self) -> None:
        """Count a new reader."""
        self.readers += 1

    def detach(self) -> None:
        """Count that a reader left."""
        self.readers -= 1


class LiveRun(Run):
    """A run of this process. `ended` is done when its final event is in the log."""

    def __init__(self, known: Run, kit: Kit, grace_s: float) -> None:
        super().__init__(**vars(known))
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._stopped: StopReason | None = None
        self._end: asyncio.Task[None] | None = None
        self._watched = 0  # the last mark of readers in other processes
        self.workflow = kit.workflow
        self._kit = kit
        self._work: asyncio.Task[Answer] | None = None
        self._grace_s = grace_s
        self._loop = asyncio.get_running_loop()
        self._context = build_detached_context()
        self._started = self._loop.time()
        self._abandonment: asyncio.TimerHandle | None = None
        # Also for the first reader: a client can disconnect before its response starts.
        self._abandon_after(max(grace_s, _FIRST_READER_S))

    @property
    def elapsed_ms(self) -> float:
        """The milliseconds since the start in this process."""
        return round((self._loop.time() - self._started) * 1000, 1)

    def attach(self) -> None:
        """Count a new reader, and do not abandon the run."""
        super().attach()
        self._cancel_abandonment()

    def detach(self) -> None:
        """Count that a reader left. After the last one the run continues for the grace period."""
        super().detach()
        if not self.readers:
            self.extend(self._grace_s)

    def extend(self, seconds: float) -> None:
        """Continue for `seconds` without a reader here; a background run continues to its end."""
        if self._work is not None and not self.readers:
            self._cancel_abandonment()
            self._abandon_after(seconds)

    def note_watched(self, mark: int, seconds: float) -> None:
        """Continue for `seconds` when `mark` is a new one of readers in other processes."""
        if mark != self._watched:
            self._watched = mark
            self.extend(seconds + self._grace_s)

    def stop(self, why: StopReason) -> None:
        """Cancel the work; the final event states `why`. Does nothing after the end of the run."""
        if self._work is not None and not self._work.done() and self._stopped is None:
            self._stopped = why
            self._work.cancel()

    def start(
        self,
        work: Coroutine[None, None, Answer],
        timeout_s: float,
        conclude: Callable[[RunFinished | RunFailed], Awaitable[bool]],
    ) -> None:
        """Start the work. After its end `conclude` gets the final event, which is then logged.

        `conclude` returns False when another worker has ended the run: `take_end` logs that end.
        A callback, not a waiting task, reacts to the end: 2 KB less for each open run.
        """

        def on_work_done(work: asyncio.Task[Answer]) -> None:
            timeout.cancel()
            self._cancel_abandonment()
            self._work = None
            result = _get_result(work)
            final = self._make_final_event(result)
            self._kit.calls.clear()  # they refer to the kit, and to this run
            if not isinstance(result, Answer):
                drop_tracebacks(result)
            self._end = self._loop.create_task(self._conclude(final, conclude))

        late = StopReason("run_timeout", f"The run did not finish within {timeout_s:g} s.")
        timeout = self._loop.call_at(self._kit.deadline, self.stop, late, context=self._context)
        self._work = self._loop.create_task(work, context=self._context)
        self._work.add_done_callback(on_work_done, context=self._context)

    async def stop_for_takeover(self) -> None:
        """Cancel the work and wait for its end; the final event is left to `take_end`."""
        if self._work is not None:
            self.stop(INTERRUPTED)
            await asyncio.wait([self._work])
            await asyncio.sleep(0)  # for its callback, which starts the end
        if self._end is not None:
            await asyncio.wait([self._end])

    def take_end(self, final: Event, seq: int) -> None:
        """Log the final event, number `seq`, with which another worker has ended the run."""
        if not self.log.finished:
            self.log.append(final, seq)
            self.ended.set_result(None)

    async def _conclude(
        self,
        final: RunFinished | RunFailed,
        conclude: Callable[[RunFinished | RunFailed], Awaitable[bool]],
    ) -> None:
        is_own = True
        try:
            is_own = await conclude(final)
        finally:
            if is_own:
                self.log.append(final)
                self.ended.set_result(None)

    def _abandon_after(self, seconds: float) -> None:
        if not self.options.background:
            timer = self._loop.call_later(seconds, self.stop, ABANDONED, context=self._context)
            self._abandonment = timer

    def _cancel_abandonment(self) -> None:
        if self._abandonment:
            self._abandonment.cancel()

    def _make_final_event(self, result: Answer | BaseException) -> RunFinished | RunFailed:
        if isinstance(result, Answer):
            return RunFinished(
                agent=result.source,
                usage=result.usage,
                cost=result.cost,
                elapsed_ms=self.elapsed_ms,
                answered_by=result.answered_by,
                degraded=bool(result.degraded_by),
                combiner=result.combiner,
                missing=result.missing,
                degraded_by=result.degraded_by,
                finish_reason=result.finish_reason,
            )
        failure = self._describe_failure(result)
        return RunFailed(
            agent=failure.source,
            code=failure.code,
            message=failure.message,
            partial=any(isinstance(event, AnswerDelta) for event in self.log.after(0)),
            usage=self._kit.usage,
            cost=self._kit.cost,
            elapsed_ms=self.elapsed_ms,
            unfinished=self._report_unfinished(),
            should_retry=failure.retry.is_useful,
            retry_after_s=failure.retry.after_s,
        )

    def _report_unfinished(self) -> tuple[AgentReport, ...]:
        """Return the reports of agents without a finished, failed or skipped event."""
        ends = AgentFinished | AgentFailed | AgentSkipped
        ended = {event.agent for event in self.log.after(0) if isinstance(event, ends)}
        reports = (work.report() for work in self._kit.calls)
        return tuple(report for report in reports if report.agent not in ended)

    def _describe_failure(self, error: BaseException) -> RunError:
        """Return why a run did not finish."""
        if isinstance(error, RunError):
            return error
        if not isinstance(error, asyncio.CancelledError):
            _log.error("unexpected error in a run", exc_info=error)
            return RunError("internal_error", "The service failed; this has been logged.")
        why = self._stopped or SHUTTING_DOWN
        return RunError(why.code, why.message)


def _get_result(work: asyncio.Task[Answer]) -> Answer | BaseException:
    """Return the answer of a task that is done, or its error; the task then has no traceback."""
    try:
        return work.result()
    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  (the edge of the task)
        return error
