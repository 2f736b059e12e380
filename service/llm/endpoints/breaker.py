"""Circuit breaker of one model on one endpoint. Independent of HTTP.

Closed, it counts failures in a row. Open, it admits no call for some seconds. Then it is half-open:
it admits one call at a time, the probe, which closes it or opens it again.
Source: https://learn.microsoft.com/azure/architecture/patterns/circuit-breaker
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

FAILURES_TO_OPEN: Final = 5
OPEN_S: Final = 30.0
# Half-open, for calls besides the probe: the probe's result is often known by then.
PROBE_WAIT_S: Final = 1.0
# Without any call for this long after the open time, the last failures say nothing any more.
_FORGOTTEN_AFTER_S = 600.0

CircuitState = Literal["closed", "open", "half_open"]
CallResult = Literal[
    "answered",
    "failed",  # in a way that speaks about the server
    "refused",  # for a reason in the request: the server works, which only a probe needs to know
    "unknown",  # such as that of a cancelled call
]


class CircuitBreaker:
    """Decides whether a model may be called. `on_change` receives the state before and after."""

    def __init__(
        self,
        clock: Callable[[], float],
        on_change: Callable[[CircuitState, CircuitState], None] = lambda _before, _after: None,
    ) -> None:
        self._clock = clock
        self._on_change = on_change
        self._state: CircuitState = "closed"
        self._failures = 0
        self._open_until = 0.0
        self._epoch = 0  # counts openings; results of calls from before an opening are ignored
        self._probe: Passage | None = None

    @property
    def state(self) -> CircuitState:
        """The state; half-open from the end of the open time on, also before the probe starts."""
        if self._state == "open" and self._clock() >= self._open_until:
            return "half_open"
        return self._state

    @property
    def wait_s(self) -> float:
        """The seconds after which a refused call may be admitted."""
        if self._state == "closed":
            return 0.0
        if self._probe is not None:
            return PROBE_WAIT_S
        return max(0.0, self._open_until - self._clock())

    @property
    def admits(self) -> bool:
        """Whether `enter` would admit a call now."""
        return self._state == "closed" or (self._probe is None and self.wait_s == 0)

    def enter(self) -> Passage | None:
        """Admit a call, or return None. The caller settles the passage, however the call ends."""
        if not self.admits:
            return None
        passage = Passage(self, self._epoch)
        if self._state != "closed":
            self._probe = passage
            self._change("half_open")
        return passage

    def forget(self) -> None:
        """Close the circuit if no call has been made for a long time."""
        is_idle = self._probe is None and self._clock() > self._open_until + _FORGOTTEN_AFTER_S
        if self._state != "closed" and is_idle:
            self.close()

    def settle(self, passage: Passage, result: CallResult) -> None:
        """Take the result of a call; `Passage` calls this."""
        is_probe = passage is self._probe
        if is_probe:
            self._probe = None
        elif passage.epoch != self._epoch or self._state != "closed":
            return
        if result == "failed":
            self._failures += 1
            if is_probe or self._failures >= FAILURES_TO_OPEN:
                self._open_until = self._clock() + OPEN_S
                self._epoch += 1
                self._change("open")
        elif result == "answered" or (result == "refused" and is_probe):
            self.close()

    def close(self) -> None:
        """Admit all calls."""
        self._failures = 0
        if self._state != "closed":
            self._probe = None
            self._epoch += 1
            self._change("closed")

    def _change(self, state: CircuitState) -> None:
        before = self._state
        if state != before:
            self._state = state
            self._on_change(before, state)


class Passage:
    """Permission for one call. Only its first result counts."""

    __slots__ = ("_breaker", "_is_settled", "epoch")

    def __init__(self, breaker: CircuitBreaker, epoch: int) -> None:
        self.epoch = epoch
        self._breaker = breaker
        self._is_settled = False

    def settle(self, result: CallResult) -> None:
        """Record the result; later ones are ignored."""
        if not self._is_settled:
            self._is_settled = True
            self._breaker.settle(self, result)
