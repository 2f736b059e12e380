"""Queue of the calls of one endpoint, which lets them pass within the endpoint's limits.

First come, first served; only calls of another model overtake those of a model that its server has
paused. A call that cannot pass soon is refused at once: it may use its time for a fallback model.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Final, Literal

from service.ensembles.endpoints import EndpointLimits
from service.llm.endpoints.adaptation import AdaptiveRate
from service.llm.endpoints.window import SlidingWindow, WindowUse

MOST_WAIT_S: Final = 10.0
_RECHECK_S = 1.0  # while reduced limits recover

LimitReason = Literal["rpm", "tpm", "parallel", "paused"]


class TurnRefused(Exception):
    """A call cannot pass soon. `after_s` is the time after which it may."""

    def __init__(self, reason: LimitReason, after_s: float) -> None:
        super().__init__(reason)
        self.reason = reason
        self.after_s = after_s


@dataclass(frozen=True, slots=True)
class _Obstacle:
    reason: LimitReason
    until: float | None  # None: the end of another call, at an unknown moment


@dataclass(eq=False, slots=True)
class _Waiting:
    model: str
    tokens: int
    turn: asyncio.Future[Turn]
    obstacle: _Obstacle


@dataclass(eq=False, slots=True)
class Turn:
    """Permission for one call; the caller ends it."""

    queue: TurnQueue
    model: str
    tokens: int
    started_at: float
    use: WindowUse
    waited_s: float = 0.0
    reason: LimitReason | None = None  # of the wait
    _is_over: bool = field(default=False)

    def end(self, tokens: int | None = None) -> None:
        """Let the next call pass; `tokens` is the number that the call has used, if known."""
        if not self._is_over:
            self._is_over = True
            self.queue.leave(self, tokens)


class TurnQueue:
    """The calls of one endpoint, those that wait and the number of those that run."""

    def __init__(self, limits: EndpointLimits) -> None:
        self.limits = limits
        self.rate = AdaptiveRate()
        self._requests = SlidingWindow()
        self._tokens = SlidingWindow()
        self._running = 0
        self._waiting: list[_Waiting] = []
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_idle(self) -> bool:
        """Whether no call runs or waits."""
        return not (self._running or self._waiting)

    def change_limits(self, limits: EndpointLimits) -> None:
        """Use other limits from now on, also for the calls that wait."""
        self.limits = limits
        self._advance()

    async def enter(self, model: str, tokens: int, wait_s: float) -> Turn:
        """Wait for a turn, at most `wait_s` and MOST_WAIT_S. Raises TurnRefused."""
        loop = asyncio.get_running_loop()
        started, most_s = loop.time(), min(wait_s, MOST_WAIT_S)
        obstacle = self._find_obstacle(model, tokens, started) or self._find_queue()
        if obstacle is None:
            return self._start(model, tokens, started)
        if most_s <= 0 or (obstacle.until is not None and obstacle.until - started > most_s):
            raise TurnRefused(obstacle.reason, _find_wait_s(obstacle, started))
        waiting = _Waiting(model, tokens, loop.create_future(), obstacle)
        self._waiting.append(waiting)
        self._advance()
        turn = await self._wait(waiting, most_s)
        turn.waited_s, turn.reason = loop.time() - started, waiting.obstacle.reason
        return turn

    async def _wait(self, waiting: _Waiting, most_s: float) -> Turn:
        turn: Turn | None = None
        try:
            async with asyncio.timeout(most_s):
                turn = await waiting.turn
        except TimeoutError:
            after_s = _find_wait_s(waiting.obstacle, asyncio.get_running_loop().time())
            raise TurnRefused(waiting.obstacle.reason, after_s) from None
        finally:
            if waiting in self._waiting:
                self._waiting.remove(waiting)
                self._advance()
            elif turn is None and waiting.turn.done() and not waiting.turn.cancelled():
                waiting.turn.result().end(0)  # received in the moment of the cancellation
        return turn

    def leave(self, turn: Turn, tokens: int | None) -> None:
        """End a turn; `Turn.end` calls this."""
        self._running -= 1
        if tokens is not None:
            now = asyncio.get_running_loop().time()
            self._tokens.correct(now, turn.use, tokens - turn.tokens)
        self._advance()

    def _start(self, model: str, tokens: int, now: float) -> Turn:
        self._running += 1
        self._requests.add(now, 1)
        self.rate.record_call(model, tokens)
        return Turn(self, model, tokens, now, self._tokens.add(now, tokens))

    def _advance(self) -> None:
        """Let all calls pass that can, and set the timer for the next one."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if not self._waiting:
            return
        loop = asyncio.get_running_loop()
        now, next_at = loop.time(), float("inf")
        for waiting in tuple(self._waiting):
            obstacle = self._find_obstacle(waiting.model, waiting.tokens, now)
            if obstacle is None:
                self._waiting.remove(waiting)
                if not waiting.turn.done():
                    waiting.turn.set_result(self._start(waiting.model, waiting.tokens, now))
                continue
            waiting.obstacle = obstacle
            if obstacle.until is not None:
                next_at = min(next_at, obstacle.until)
            if obstacle.reason != "paused":
                break
        if self.rate.share(now) < 1:
            next_at = min(next_at, now + _RECHECK_S)
        if next_at < float("inf"):
            self._timer = loop.call_at(next_at, self._advance)

    def _find_queue(self) -> _Obstacle | None:
        """Return the obstacle of the first call that waits for one of the endpoint's limits."""
        obstacles = (each.obstacle for each in self._waiting)
        return next((each for each in obstacles if each.reason != "paused"), None)

    def _find_obstacle(self, model: str, tokens: int, now: float) -> _Obstacle | None:
        limits, rate = self.limits, self.rate
        free_at = rate.find_free_at(model, tokens, now)
        if free_at > now:
            return _Obstacle("paused", free_at)
        if limits.parallel is not None and self._running >= rate.apply(limits.parallel, now):
            return _Obstacle("parallel", None)
        if limits.rpm is not None:
            free_at = self._requests.find_free_at(now, 1, rate.apply(limits.rpm, now))
            if free_at > now:
                return _Obstacle("rpm", free_at)
        if limits.tpm is not None:
            free_at = self._tokens.find_free_at(now, tokens, rate.apply(limits.tpm, now))
            if free_at > now:
                return _Obstacle("tpm", free_at)
        return None


def _find_wait_s(obstacle: _Obstacle, now: float) -> float:
    """Return the seconds after which the obstacle may be gone."""
    return _RECHECK_S if obstacle.until is None else max(0.0, obstacle.until - now)
