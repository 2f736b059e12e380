"""Cache of token counts in Redis, shared by all workers. A run never depends on it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from service.redis.client import FAILURES, open_redis
from telemetry import AgentOperation, Telemetry

_log = logging.getLogger(__name__)

T = TypeVar("T")

_TTL_S: Final = 7 * 86_400
_MAX_CONNECTIONS: Final = 8
_MAX_DIGITS: Final = 9


class RedisCounts:
    """Counts by key. A failure of Redis only means that counts are unknown.

    A request may take `timeout_s`, including the connection; after a failure there are no requests
    for `rest_s`.
    """

    def __init__(
        self, url: str, telemetry: Telemetry, *, timeout_s: float = 0.1, rest_s: float = 10.0
    ) -> None:
        """Create a client that connects on first use. Raises ValueError for an invalid `url`."""
        self._telemetry = telemetry
        self._timeout_s = timeout_s
        self._reading = _Outage("read", rest_s)
        self._writing = _Outage(
            "written", rest_s
        )  # separate: a full or read-only Redis can be read
        self._redis = open_redis(url, timeout_s=timeout_s, max_connections=_MAX_CONNECTIONS)

    async def get(self, keys: Sequence[str], parent: AgentOperation | None) -> list[int | None]:
        """Return the count of each key, None if it is unknown."""
        values = await self._request(lambda: self._redis.mget(keys), self._reading, parent)
        return [_parse_count(value) for value in values] if values else [None] * len(keys)

    async def put(self, counts: Mapping[str, int], parent: AgentOperation | None) -> None:
        """Share counts for a week."""
        pipeline = self._redis.pipeline(transaction=False)
        for key, tokens in counts.items():
            pipeline.set(key, tokens, ex=_TTL_S)
        await self._request(pipeline.execute, self._writing, parent)

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    async def _request(
        self,
        work: Callable[[], Awaitable[T]],
        outage: _Outage,
        parent: AgentOperation | None,
    ) -> T | None:
        """Return the answer of Redis; None after a failure or during the rest after one."""
        if outage.is_resting:
            return None
        operation = self._telemetry.start_store_operation(
            "count_tokens", system="redis", parent=parent
        )
        error_type: str | None = "cancelled"
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await work()
            error_type = None
        except FAILURES as error:
            error_type = type(error).__name__
            outage.start(error)
            return None
        finally:
            operation.finish(error_type)
        outage.end()
        return answer


class _Outage:
    """Tracks failures of Redis, and the rest without requests after each.

    Logs the start and the end of an outage once.
    """

    def __init__(self, participle: str, rest_s: float) -> None:
        self._participle = participle
        self._rest_s = rest_s
        self._until = 0.0  # in the event loop's time
        self._is_on = False

    @property
    def is_resting(self) -> bool:
        return self._is_on and asyncio.get_running_loop().time() < self._until

    def start(self, error: Exception) -> None:
        """Start the rest without requests; log `error` if the outage is new."""
        self._until = asyncio.get_running_loop().time() + self._rest_s
        if not self._is_on:
            self._is_on = True
            reason = str(error) or "it did not answer in time"
            _log.warning("token counts cannot be %s in Redis: %s", self._participle, reason)

    def end(self) -> None:
        """End the outage after a successful request."""
        if self._is_on:
            self._is_on = False
            _log.info("token counts can be %s in Redis again", self._participle)


def _parse_count(value: Any) -> int | None:
    """Return a stored value as a number, None if another program wrote it."""
    if isinstance(value, bytes) and value.isdigit() and len(value) <= _MAX_DIGITS:
        return int(value)
    return None
