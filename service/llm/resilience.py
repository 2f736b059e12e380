"""Deadlines, retry delays and the retry budget. Knows nothing of HTTP or of agents."""

from __future__ import annotations

import asyncio
import random
from types import TracebackType
from typing import Self

from service.errors import UpstreamTimeout

BACKOFF_BASE_S = 0.25
BACKOFF_MAX_S = 8.0


class Deadlines:
    """Ends the enclosed block when its first token, its next token or its end is late.

    `async with Deadlines(...) as deadlines:` and `deadlines.progress()` at each token.
    Raises UpstreamTimeout. A timer that is looked at when it fires, not reset at every token:
    a reset costs 2 µs, a token happens thousands of times a second.
    """

    def __init__(
        self, who: str, *, total_s: float, first_token_s: float | None, idle_s: float | None
    ) -> None:
        self._who = who
        self._total_s = total_s
        self._first_token_s = first_token_s
        self._idle_s = idle_s
        self._last: float | None = None
        self._timeout = asyncio.timeout(None)

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._started = self._loop.time()
        await self._timeout.__aenter__()
        self._timer = self._loop.call_at(self._due()[0], self._look)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        try:
            await self._timeout.__aexit__(kind, error, trace)
        except TimeoutError:
            raise UpstreamTimeout(f"{self._who} {self._due()[1]}.") from None

    def progress(self) -> None:
        """Note that a token has just arrived."""
        first = self._last is None
        self._last = self._loop.time()
        if first:  # the timer waits for the first token, and the next one may be due before that
            self._timer.cancel()
            self._timer = self._loop.call_at(self._due()[0], self._look)

    def _due(self) -> tuple[float, str]:
        """Return when the next deadline is, in loop time, and what missing it means."""
        total = (self._started + self._total_s, f"had not finished after {self._total_s:g} s")
        if self._last is None and self._first_token_s is not None:
            why = f"sent no token within {self._first_token_s:g} s"
            return min(total, (self._started + self._first_token_s, why))
        if self._last is not None and self._idle_s is not None:
            why = f"went silent for {self._idle_s:g} s"
            return min(total, (self._last + self._idle_s, why))
        return total

    def _look(self) -> None:
        due, now = self._due()[0], self._loop.time()
        if due <= now:
            self._timeout.reschedule(now)
        else:
            self._timer = self._loop.call_at(due, self._look)


class RetryBudget:
    """Lets retries be at most `ratio` of calls, so that an outage is not answered with a storm.

    Starts with `reserve` retries, which is also the most that can be saved up.
    """

    def __init__(self, ratio: float = 0.2, reserve: float = 10) -> None:
        self._ratio = ratio
        self._reserve = reserve
        self._saved = reserve

    def call(self) -> None:
        """Note one first attempt."""
        self._saved = min(self._reserve, self._saved + self._ratio)

    def withdraw(self) -> bool:
        """Take one retry from the budget; False when there is none left."""
        if self._saved < 1:
            return False
        self._saved -= 1
        return True


def retry_delay_s(attempt: int, retry_after_s: float | None) -> float:
    """Return how long to wait after `attempt` (1, 2, …) failed: full jitter, doubling.

    A `Retry-After` is a floor: the jitter comes on top of it.
    Source: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """
    ceiling = min(BACKOFF_MAX_S, BACKOFF_BASE_S * 2.0 ** (attempt - 1))
    return (retry_after_s or 0) + random.uniform(0, ceiling)  # noqa: S311  (not for secrets)
