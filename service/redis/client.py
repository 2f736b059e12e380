"""Connections to Redis: few, opened on first use, and without retries of the library.

Each use decides how long it waits and what an outage means for it.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote, urlsplit

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from telemetry import register_secret

# The errors that the library raises for a faulty server, or for one that is not Redis.
FAILURES: Final = (RedisError, OSError, EOFError, ValueError, TimeoutError)


def open_redis(url: str, *, timeout_s: float, max_connections: int) -> Redis:
    """Return a client that waits at most `timeout_s` for one of `max_connections`.

    Redacts the password of `url` in logs. Raises ValueError for an invalid `url`.
    """
    if password := urlsplit(url).password:
        register_secret(unquote(password))
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=max_connections,
        timeout=timeout_s,
        protocol=2,
        driver_info=None,  # saves a round trip for each new connection
        retry=Retry(NoBackoff(), 0),
    )
    return Redis.from_pool(pool)
