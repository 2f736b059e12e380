"""One run: a question being answered, its log, and who is reading it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime

from service.domain import AgentReport, Answer, Ask
from service.ensembles import Ensemble
from service.errors import RunError
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
from service.strategies.kit import Kit
from telemetry import Workflow

_log = logging.getLogger(__name__)

_FIRST_READER_S = 5.0  # at least; a response needs a moment to begin


@dataclass(frozen=True, slots=True)
class Stop:
    """Why a run was stopped before its end."""

    code: str
    message: str


CANCELLED = Stop("cancelled", "The run was cancelled.")
ABANDONED = Stop("abandoned", "Nobody was reading any more, so the run was stopped.")
SHUTTING_DOWN = Stop("shutting_down", "The service is shutting down; please ask again.")


class Run:
    """What is known of one run. `trace_id` is 32 hex digits; times are UTC."""

    def __init__(
        self, run_id: str, ask: Ask, ensemble: Ensemble, workflow: Workflow, grace_s: float
    ) -> None:
        self.id = run_id
        self.ask = ask
        self.ensemble = ensemble
        self.trace_id = workflow.trace_id
        self.span_context = workflow.span_context
        self.created_at = datetime.now(UTC)
        self.log = RunLog()
        self.readers = 0
        self.stopped: Stop | None = None
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._loop = asyncio.get_running_loop()
        self._started = self._loop.time()
        self.idempotency_key: str | None = None
        self._work: asyncio.Task[Answer] | None = None
        self._grace_s = grace_s
        # Also for the first reader: a client can vanish before its response begins.
        self._leaving: asyncio.TimerHandle | None = self._loop.call_later(
            max(grace_s, _FIRST_READER_S), self.stop, ABANDONED
        )

    @property
    def size_bytes(self) -> int:
        """About what the run holds on to: its events, and the question."""
        return self.log.size_bytes + sum(len(each.content) for each in self.ask.messages)

    def elapsed_ms(self) -> float:
        """Return the milliseconds since the run began."""
        return round((self._loop.time() - self._started) * 1000, 1)

    def attach(self) -> None:
        """Note a reader; the run no longer waits for one."""
        self.readers += 1
        if self._leaving:
            self._leaving.cancel()
            self._leaving = None

    def detach(self) -> None:
        """Note that a reader left. After the last one the run lives on for the grace."""
        self.readers -= 1
        if not self.readers and not self.log.finished:
            self._leaving = self._loop.call_later(self._grace_s, self.stop, ABANDONED)

    def stop(self, why: Stop) -> None:
        """Cancel the work; the final event says `why`. Does nothing once the run has ended."""
        if self._work is not None and not self._work.done() and self.stopped is None:
            self.stopped = why
            self._work.cancel()

    async def emit(self, event: Event) -> None:
        """Add to the log; what a strategy is given to write with."""
        self.log.append(event)

    def begin(
        self,
        work: Coroutine[None, None, Answer],
        kit: Kit,
        timeout_s: float,
        ended: Callable[[Run, RunFinished | RunFailed], None],
    ) -> None:
        """Set to work and call `ended` with the final event, whatever that will be.

        A callback, not a task that waits: 2 KB less for each open run.
        """

        def conclude(work: asyncio.Task[Answer]) -> None:
            timeout.cancel()
            if self._leaving:
                self._leaving.cancel()
            self._leaving = self._work = None
            final = self._final_event(work, kit)
            self.log.append(final)
            ended(self, final)

        late = Stop("run_timeout", f"The run did not finish within {timeout_s:g} s.")
        timeout = self._loop.call_at(kit.deadline, self.stop, late)
        self._work = self._loop.create_task(work)
        self._work.add_done_callback(conclude)

    def _final_event(self, work: asyncio.Task[Answer], kit: Kit) -> RunFinished | RunFailed:
        elapsed_ms = self.elapsed_ms()
        error = None if work.cancelled() else work.exception()
        if not work.cancelled() and error is None:
            answer = work.result()
            return RunFinished(
                agent=answer.source,
                usage=answer.usage,
                cost=answer.cost,
                elapsed_ms=elapsed_ms,
                answered_by=answer.answered_by,
                degraded=answer.degraded,
                combiner=answer.combiner,
            )
        code, message, source = self._reason(error)
        return RunFailed(
            agent=source,
            code=code,
            message=message,
            partial=any(isinstance(event, AnswerDelta) for event in self.log.after(0)),
            usage=kit.usage,
            cost=kit.cost,
            elapsed_ms=elapsed_ms,
            unfinished=self._unfinished(kit),
        )

    def _unfinished(self, kit: Kit) -> tuple[AgentReport, ...]:
        told = AgentFinished | AgentFailed | AgentSkipped
        accounted = {event.agent for event in self.log.after(0) if isinstance(event, told)}
        reports = (work.report() for work in kit.asked)
        return tuple(report for report in reports if report.agent not in accounted)

    def _reason(self, error: BaseException | None) -> tuple[str, str, str]:
        """Return code, sentence and source of a run that did not finish."""
        if isinstance(error, RunError):
            return error.code, error.message, error.source
        if error is not None:
            _log.error("a run failed for a reason that is a bug", exc_info=error)
            return "internal_error", "The service failed; this has been logged.", "service"
        why = self.stopped or SHUTTING_DOWN
        return why.code, why.message, "service"
