"""Deadlines, retry delays and the retry budget; independent of HTTP and of agents."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from types import TracebackType
from typing import Self

from service.errors import UpstreamTimeout

_log = logging.getLogger(__name__)

BUDGET_SPENT = (
    "It was not called again: too many calls have failed recently, and the service limits its "
    "retries to a fifth of its calls."
)
BACKOFF_BASE_S = 0.25
BACKOFF_MAX_S = 8.0


class Deadlines:
    """Ends the enclosed block when the first token, the next token or the end is late.

    Use `async with Deadlines(...) as deadlines:` and call `deadlines.progress()` for each token.
    Raises UpstreamTimeout, with `name` in the message. The timer compares times when it fires
    instead of being reset for each token: a reset costs 2 µs, and thousands of tokens arrive per
    second.
    """

    def __init__(
        self,
        name: str,
        *,
        total_s: float,
        first_token_s: float | None,
        idle_s: float | None,
        on_first_token: Callable[[], None] = lambda: None,
    ) -> None:
        self._name = name
        self._on_first_token = on_first_token
        self._total_s = total_s
        self._first_token_s = first_token_s
        self._idle_s = idle_s
        self._last: float | None = None
        self._is_complete = False
        self._timeout = asyncio.timeout(None)

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._started = self._loop.time()
        await self._timeout.__aenter__()
        self._timer = self._loop.call_at(self._find_deadline()[0], self._check)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        # The timeout refers to the task, whose error refers to the frames that refer to this.
        timeout = self._timeout
        del self._timeout
        try:
            await timeout.__aexit__(kind, error, trace)
        except TimeoutError:
            raise UpstreamTimeout(f"{self._name} {self._find_deadline()[1]}.") from None

    def complete(self) -> float:
        """Record that the answer is complete: no deadline ends the block any more.

        Returns the moment of the total deadline, in loop time.
        """
        self._timer.cancel()
        self._is_complete = True
        return self._started + self._total_s

    def progress(self) -> None:
        """Record that a token has arrived."""
        first = self._last is None
        self._last = self._loop.time()
        if not first:
            return
        self._on_first_token()
        if not self._is_complete:  # the deadline of the next token may be before that of the first
            self._timer.cancel()
            self._timer = self._loop.call_at(self._find_deadline()[0], self._check)

    def _find_deadline(self) -> tuple[float, str]:
        """Return the next deadline, in loop time, and the message for missing it."""
        total = (self._started + self._total_s, f"had not finished after {self._total_s:g} s")
        if self._last is None and self._first_token_s is not None:
            message = f"sent no token within {self._first_token_s:g} s"
            return min(total, (self._started + self._first_token_s, message))
        if self._last is not None and self._idle_s is not None:
            message = f"went silent for {self._idle_s:g} s"
            return min(total, (self._last + self._idle_s, message))
        return total

    def _check(self) -> None:
        deadline, now = self._find_deadline()[0], self._loop.time()
        if deadline <= now:
            self._timeout.reschedule(now)
        else:
            self._timer = self._loop.call_at(deadline, self._check)


class RetryBudget:
    """Limits retries to `ratio` of the calls, so that an outage does not cause a retry storm.

    Starts with `reserve` retries, which is also the maximum.
    """

    def __init__(self, ratio: float = 0.2, reserve: float = 10) -> None:
        self._ratio = ratio
        self._reserve = reserve
        self._saved = reserve

    def record_call(self) -> None:
        """Record the first attempt of a call."""
        self._saved = min(self._reserve, self._saved + self._ratio)

    def withdraw(self, agent: str) -> bool:
        """Take one retry of `agent` from the budget; return False, and log it, if none is left."""
        if self._saved < 1:
            _log.warning("%s is not called again: the retry budget is spent", agent)
            return False
        self._saved -= 1
        return True


def retry_delay_s(attempt: int, retry_after_s: float | None) -> float:
    """Return the delay after failed attempt `attempt` (1, 2, …): full jitter, doubling.

    A `Retry-After` is the minimum; the jitter is added to it.
    Source: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """
    ceiling = min(BACKOFF_MAX_S, BACKOFF_BASE_S * 2.0 ** (attempt - 1))
    return (retry_after_s or 0) + random.uniform(0, ceiling)  # noqa: S311  (not for secrets)
