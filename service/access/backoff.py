"""Growing waits between attempts, against programs that guess passwords."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """`free` attempts without a wait, then waits of 1, 2, 4 … up to `longest_s` seconds.

    After `forget_s` seconds without an attempt the count starts again.
    """

    free: int
    longest_s: float = 900.0
    forget_s: float = 3_600.0

    def wait_after(self, attempts: int) -> float:
        """Return the seconds between attempt number `attempts` and the next one."""
        if attempts < self.free:
            return 0.0
        return min(self.longest_s, 2.0 ** min(attempts - self.free, 30))


@dataclass(frozen=True, slots=True)
class AttemptCount:
    """The attempts on one subject. Times are in seconds of one clock."""

    attempts: int = 0
    last_s: float = 0.0

    def wait_s(self, now_s: float, backoff: Backoff) -> float:
        """Return the seconds until the next attempt is allowed.

        A clock that was set back does not lengthen the wait.
        """
        wait = backoff.wait_after(self.attempts) if self.attempts else 0.0
        return min(wait, max(0.0, self.last_s + wait - now_s))

    def after_attempt(self, now_s: float, backoff: Backoff) -> AttemptCount:
        """Return the count with one attempt more."""
        is_forgotten = abs(now_s - self.last_s) > backoff.forget_s
        return AttemptCount(1 if is_forgotten else self.attempts + 1, now_s)
