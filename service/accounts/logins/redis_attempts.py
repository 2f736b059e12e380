"""Attempts to log in and to register, counted in Redis for all processes.

Without Redis nothing can be counted, so logins are refused until it is back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Final

from service.access.backoff import Backoff
from service.errors import StorageUnavailable
from service.redis.client import FAILURES, open_redis

_TIMEOUT_S: Final = 1.0
_MAX_CONNECTIONS: Final = 8
# In one slot of a cluster, because the script reads and writes several keys.
_PREFIX: Final = "llm-sse:{attempts}:"

# `AttemptCount` in Lua, so that one call counts all subjects or none. The clock is that of Redis.
_TAKE: Final = """
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local longest = 0
local counts = {}
for i, key in ipairs(KEYS) do
  local stored = redis.call('HMGET', key, 'attempts', 'last')
  local attempts, last = tonumber(stored[1] or 0), tonumber(stored[2] or 0)
  local free, cap = tonumber(ARGV[3 * i - 2]), tonumber(ARGV[3 * i - 1])
  local wait = 0
  if attempts > 0 and attempts >= free then
    wait = math.min(cap, 2 ^ math.min(attempts - free, 30))
    wait = math.min(wait, math.max(0, last + wait - now))
  end
  longest = math.max(longest, wait)
  if math.abs(now - last) > tonumber(ARGV[3 * i]) then attempts = 0 end
  counts[i] = attempts
end
if longest > 0 then return tostring(longest) end
for i, key in ipairs(KEYS) do
  redis.call('HSET', key, 'attempts', counts[i] + 1, 'last', string.format('%.6f', now))
  redis.call('EXPIRE', key, ARGV[3 * i])
end
return '0'
"""
_UNDO: Final = """
for _, key in ipairs(KEYS) do
  if tonumber(redis.call('HGET', key, 'attempts') or 0) > 0 then
    redis.call('HINCRBY', key, 'attempts', -1)
  end
end
"""


class RedisAttempts:
    """The counts of all processes that share a Redis. Every method raises StorageUnavailable."""

    def __init__(self, url: str, *, timeout_s: float = _TIMEOUT_S) -> None:
        """Create a client that connects on first use. Raises ValueError for an invalid `url`."""
        self._timeout_s = timeout_s
        self._redis = open_redis(url, timeout_s=timeout_s, max_connections=_MAX_CONNECTIONS)

    async def take(self, subjects: Mapping[str, Backoff]) -> float:
        """Count an attempt on every subject and return 0; or count none and return the wait."""
        limits = [
            value
            for each in subjects.values()
            for value in (each.free, each.longest_s, int(each.forget_s))
        ]
        keys = [_PREFIX + each for each in subjects]
        return float(await self._request(self._redis.eval(_TAKE, len(keys), *keys, *limits)))

    async def undo(self, subjects: Sequence[str]) -> None:
        """Take back one attempt on each subject."""
        keys = [_PREFIX + each for each in subjects]
        await self._request(self._redis.eval(_UNDO, len(keys), *keys))

    async def forget(self, subjects: Sequence[str]) -> None:
        """Forget all attempts on the subjects."""
        await self._request(self._redis.delete(*(_PREFIX + each for each in subjects)))

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    async def _request(self, work: Awaitable[Any]) -> Any:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await work
        except FAILURES as error:
            raise StorageUnavailable(
                "Logins are not possible at present, because Redis cannot be reached.",
                reason="down",
            ) from error
