"""Permission for one call of a model, and the effect of its result on later calls."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from service.domain import Usage
from service.errors import (
    BadStream,
    MissingKey,
    UpstreamBroken,
    UpstreamBusy,
    UpstreamError,
    UpstreamFailed,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from service.llm.endpoints.breaker import CallResult, Passage
from service.llm.endpoints.rate_headers import read_remaining_rates
from service.llm.endpoints.turns import LimitReason, Turn, TurnQueue
from service.llm.protocol import Call

# Before the first token. Refused requests, keys and rates (4xx) say nothing about the server.
_SERVER_FAILURES = (
    UpstreamUnreachable,
    UpstreamTimeout,
    UpstreamFailed,
    UpstreamBroken,
    BadStream,
)


class AdmittedCall:
    """Permission for one call of a model. The caller ends it, however the call ends."""

    __slots__ = ("_passage", "_queue", "_turn", "call")

    def __init__(
        self, call: Call, passage: Passage, queue: TurnQueue | None, turn: Turn | None
    ) -> None:
        self.call = call
        self._passage = passage
        self._queue = queue
        self._turn = turn

    @property
    def waited_s(self) -> float:
        """The seconds for which the call has waited for a limit of its endpoint."""
        return self._turn.waited_s if self._turn else 0.0

    @property
    def wait_reason(self) -> LimitReason | None:
        """The limit for which the call has waited."""
        return self._turn.reason if self._turn else None

    def confirm(self) -> None:
        """Record the first token: the server answers, even if the answer breaks off later."""
        self._passage.settle("answered")

    def record_headers(self, headers: Mapping[str, str]) -> None:
        """Learn the rests of the server's limits from a response."""
        if self._queue:
            now = asyncio.get_running_loop().time()
            self._queue.rate.record_headers(self.call.model, read_remaining_rates(headers), now)

    def end(self, error: BaseException | None, usage: Usage | None) -> None:
        """Take the result of the call: its error, or None for an answer."""
        self._passage.settle(_classify(error))
        if self._turn and self._queue:
            if isinstance(error, UpstreamBusy):
                self._queue.rate.record_refusal(
                    self.call.model,
                    started_at=self._turn.started_at,
                    now=asyncio.get_running_loop().time(),
                    retry_after_s=error.retry_after_s,
                )
            self._turn.end(usage.total_tokens if usage else None)


def _classify(error: BaseException | None) -> CallResult:
    if error is None:
        return "answered"
    if isinstance(error, _SERVER_FAILURES):
        return "failed"
    is_answer = isinstance(error, UpstreamError) and not isinstance(error, MissingKey)
    return "refused" if is_answer else "unknown"
