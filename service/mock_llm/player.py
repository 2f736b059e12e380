"""Playback of the mock's plans on a socket."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from itertools import accumulate

from service.mock_llm.http import encode_response_head
from service.mock_llm.transport import ModelServer
from service.mock_llm.wire import End, Plan

_MAX_BATCH = 256
# uvloop's clock and timers have a resolution of a millisecond: steps due within one are due now.
_TICK_S = 0.001
_RESET_AFTER_S = 0.005  # the written data must be sent first
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Player:
    """Plays one plan on a transport, with one timer at most.

    Times are absolute, so a late timer does not delay later steps; all overdue steps are sent in
    one write.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        transport: asyncio.Transport,
        plan: Plan,
        mock: ModelServer,
    ) -> None:
        self._loop = loop
        self._transport = transport
        self._plan = plan
        self._mock = mock
        self._chunked = all(name != "content-length" for name, _ in plan.headers)
        self._timer: asyncio.TimerHandle | None = None
        self._paused = False
        self._over = False
        self._head = b""
        self._dues: list[float] = []  # the times of the head and of each step
        self._next = 0

    def start(self, keep_alive: bool, on_end: Callable[[bool], None]) -> None:
        """Start; call `on_end` with `keep_alive` once the response is complete."""
        self._keep_alive = keep_alive
        self._on_end = on_end
        self._mock.record_start()
        plan = self._plan
        if plan.status is None:
            self._end()
            return
        self._head = encode_response_head(
            plan.status, plan.headers, chunked=self._chunked, keep_alive=keep_alive
        )
        start = self._loop.time() + plan.wait_s
        self._dues = list(accumulate((step.delay_s for step in plan.steps), initial=start))
        self._tick()

    def stop(self) -> None:
        """Send nothing more, since the client has disconnected."""
        if self._timer is not None:
            self._timer.cancel()
        self._finish(early=True)

    def pause(self) -> None:
        """Stop sending until the client reads."""
        self._paused = True

    def resume(self) -> None:
        """Continue, with the steps that became overdue."""
        self._paused = False
        if self._timer is None and not self._over and self._next < len(self._dues):
            self._tick()

    def _tick(self) -> None:
        """Send all due steps and start the timer of the next one."""
        self._timer = None
        if self._paused:
            return
        dues, first = self._dues, self._next
        now = self._loop.time() + _TICK_S
        last = first
        limit = min(len(dues), first + _MAX_BATCH)
        while last < limit and dues[last] <= now:
            last += 1
        self._next = last
        if last > first:
            self._transport.write(self._render(first, last))
        if last == len(dues):
            self._end()
        else:
            self._timer = self._loop.call_at(dues[last], self._tick)

    def _render(self, first: int, last: int) -> bytes:
        """Return the bytes of the head (0) and the steps (from 1) in `first:last`."""
        blocks = [step.data for step in self._plan.steps[max(0, first - 1) : last - 1]]
        if self._chunked:
            blocks = [b"%x\r\n%b\r\n" % (len(block), block) for block in blocks]
            if last == len(self._dues) and self._plan.end is End.CLEAN:
                blocks.append(b"0\r\n\r\n")
        if first == 0:
            blocks.insert(0, self._head)
        return b"".join(blocks)

    def _end(self) -> None:
        if self._plan.end is End.CLEAN:
            self._finish(early=False)
            self._on_end(self._keep_alive)
        elif self._plan.end is End.RESET:
            self._timer = self._loop.call_later(_RESET_AFTER_S, self._reset)

    def _reset(self) -> None:
        """Break the connection with RST, as a crashed server would."""
        self._finish(early=False)
        connection = self._transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._transport.abort()

    def _finish(self, *, early: bool) -> None:
        if not self._over:
            self._over = True
            self._mock.record_end(early=early)
