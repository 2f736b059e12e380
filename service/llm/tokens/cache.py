"""Token counts that all workers share, in Redis: a cache, and nothing that a run waits for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeVar
from urllib.parse import unquote, urlsplit

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from telemetry import AgentOperation, Telemetry, register_secret

_log = logging.getLogger(__name__)

T = TypeVar("T")

_TTL_S: Final = 7 * 86_400
_MAX_CONNECTIONS: Final = 8
_MAX_DIGITS: Final = 9
# What a server that is not well, or is not Redis at all, makes the library raise.
_FAILURES = (RedisError, OSError, EOFError, ValueError, TimeoutError)


class RedisCounts:
    """Counts by key. Whatever is wrong with Redis, less is known and nothing else happens.

    It has `timeout_s` for an answer, connecting included; after a failure it is left alone
    for `rest_s`.
    """

    def __init__(
        self, url: str, telemetry: Telemetry, *, timeout_s: float = 0.1, rest_s: float = 10.0
    ) -> None:
        """Connect when first asked. Raises ValueError when `url` is not one of Redis'."""
        if password := urlsplit(url).password:
            register_secret(unquote(password))
        self._telemetry = telemetry
        self._timeout_s = timeout_s
        self._reading = _Outage("read", rest_s)
        self._writing = _Outage("written", rest_s)  # apart: a full or a read-only Redis can be read
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=_MAX_CONNECTIONS,
            timeout=timeout_s,
            protocol=2,
            driver_info=None,  # one round trip less for each new connection
            retry=Retry(NoBackoff(), 0),
        )
        self._redis: Redis = Redis.from_pool(pool)

    async def get(self, keys: Sequence[str], parent: AgentOperation | None) -> list[int | None]:
        """Return the count of each key, None where it is not known."""
        values = await self._ask(lambda: self._redis.mget(keys), self._reading, parent)
        return [_parse_count(value) for value in values] if values else [None] * len(keys)

    async def put(self, counts: Mapping[str, int], parent: AgentOperation | None) -> None:
        """Share counts for a week."""
        pipeline = self._redis.pipeline(transaction=False)
        for key, tokens in counts.items():
            pipeline.set(key, tokens, ex=_TTL_S)
        await self._ask(pipeline.execute, self._writing, parent)

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    async def _ask(
        self,
        work: Callable[[], Awaitable[T]],
        outage: _Outage,
        parent: AgentOperation | None,
    ) -> T | None:
        """Return what Redis says within the time it has; None when it does not, or rests."""
        if outage.rests:
            return None
        operation = self._telemetry.start_store_operation(
            "count_tokens", system="redis", parent=parent
        )
        error_type: str | None = "cancelled"
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await work()
            error_type = None
        except _FAILURES as error:
            error_type = type(error).__name__
            outage.begin(error)
            return None
        finally:
            operation.finish(error_type)
        outage.end()
        return answer


class _Outage:
    """Whether Redis can be used, as far as is known: after a failure it is left alone for a while.

    The log says once that it began and once that it is over.
    """

    def __init__(self, done: str, rest_s: float) -> None:
        self._done = done
        self._rest_s = rest_s
        self._until = 0.0  # in the event loop's time
        self._is_on = False

    @property
    def rests(self) -> bool:
        return self._is_on and asyncio.get_running_loop().time() < self._until

    def begin(self, error: Exception) -> None:
        self._until = asyncio.get_running_loop().time() + self._rest_s
        if not self._is_on:
            self._is_on = True
            why = str(error) or "it did not answer in time"
            _log.warning("token counts cannot be %s in Redis: %s", self._done, why)

    def end(self) -> None:
        if self._is_on:
            self._is_on = False
            _log.info("token counts can be %s in Redis again", self._done)


def _parse_count(value: Any) -> int | None:
    """Return what is stored as a number; anything else is not ours."""
    if isinstance(value, bytes) and value.isdigit() and len(value) <= _MAX_DIGITS:
        return int(value)
    return None
