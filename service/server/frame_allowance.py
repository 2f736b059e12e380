"""The number of small frames that a client may send: a token bucket per connection.

Control frames and fragments cost the client a few bytes and the service up to 50 microseconds, so
that they are limited per second. The reserve is for clients that send many at once: a long message
in small fragments, or a browser that cancels a hundred requests.
"""

from __future__ import annotations

import time
from collections.abc import Callable

# 200 frames per second use 1 % of a core. A client that sends a ping per second uses half a
# percent of this rate.
_PER_S = 200
_RESERVE = 1000


class FrameAllowance:
    """The frames that one connection may still send."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._left = float(_RESERVE)
        self._updated = clock()

    def spend(self, cost: int = 1) -> bool:
        """Use the allowance for a frame; return False if less than its cost is left."""
        now = self._clock()
        self._left = min(_RESERVE, self._left + (now - self._updated) * _PER_S)
        self._updated = now
        if self._left < cost:
            return False
        self._left -= cost
        return True
