"""A connection to Redis that is shared by all requests, and rests after a failure.

Calls that arrive while a round trip is under way share the next one: a round trip then takes as
long as Redis takes, however many requests wait. A failure of Redis, or a round trip that takes too
long, starts an outage: for some seconds calls fail at once, then one call tries again.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from redis.exceptions import NoScriptError

from service.redis.client import FAILURES, open_redis
from service.redis.unavailable import RedisUnavailable

_log = logging.getLogger(__name__)

Argument = str | int | float

_MAX_BATCH: Final = 500
_MAX_CONNECTIONS: Final = 4
_PARTS: Final = 10  # of the time-out


@dataclass(slots=True)
class _ScriptCall:
    """A script with its keys and arguments, and its reply."""

    script: str
    keys: Sequence[str]
    arguments: Sequence[Argument]
    reply: asyncio.Future[Any]

    @property
    def command(self) -> tuple[Argument, ...]:
        return ("EVALSHA", _digest(self.script), len(self.keys), *self.keys, *self.arguments)


class RedisLink:
    """Runs scripts. A round trip may take `timeout_s`; an outage lasts at least `rest_s`.

    The delays of a busy process do not count: a part of the time-out that ends late is one part.
    """

    def __init__(self, url: str, *, timeout_s: float = 0.25, rest_s: float = 2.0) -> None:
        """Create a link that connects on first use. Raises ValueError for an invalid `url`."""
        self._redis = open_redis(url, timeout_s=timeout_s, max_connections=_MAX_CONNECTIONS)
        self._timeout_s = timeout_s
        self._rest_s = rest_s
        self._rests_until = 0.0  # in the event loop's time
        self._waiting: list[_ScriptCall] = []
        self._sending: asyncio.Task[None] | None = None
        self.is_down = False

    async def run(self, script: str, keys: Sequence[str], arguments: Sequence[Argument]) -> Any:
        """Return the reply of a script. Raises RedisUnavailable."""
        return await self.post(script, keys, arguments)

    def post(
        self, script: str, keys: Sequence[str], arguments: Sequence[Argument]
    ) -> asyncio.Future[Any]:
        """Run a script soon and return its future reply; an error may be ignored."""
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        reply.add_done_callback(_retrieve)
        if self.is_down and (self._is_resting or self._sending):
            reply.set_exception(RedisUnavailable())
            return reply
        self._waiting.append(_ScriptCall(script, keys, arguments, reply))
        if self._sending is None:
            self._sending = asyncio.create_task(self._send_waiting())
        return reply

    async def close(self) -> None:
        """Send what waits, and close the connections."""
        if self._sending:
            await asyncio.wait([self._sending], timeout=2 * self._timeout_s)
        with suppress(*FAILURES):
            await self._redis.aclose()

    @property
    def _is_resting(self) -> bool:
        return asyncio.get_running_loop().time() < self._rests_until

    async def _send_waiting(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:_MAX_BATCH], self._waiting[_MAX_BATCH:]
                await self._send([each for each in batch if not each.reply.done()])
        finally:
            self._sending = None

    async def _send(self, batch: Sequence[_ScriptCall]) -> None:
        work = asyncio.ensure_future(self._exchange(batch))
        # In parts: a busy process finds a part over although the reply is there, and continues.
        for _ in range(_PARTS):
            if not work.done():
                await asyncio.wait([work], timeout=self._timeout_s / _PARTS)
        if not work.done():
            work.cancel()
            self._start_outage(TimeoutError("it did not answer in time"), batch)
            await asyncio.wait([work], timeout=self._timeout_s)
            return
        try:
            replies = work.result()
        except FAILURES as error:
            self._start_outage(error, batch)
        else:
            self._finish(batch, replies)

    async def _exchange(self, batch: Sequence[_ScriptCall]) -> list[Any]:
        """Return the replies of a batch, errors included; load scripts that Redis does not have."""
        replies = await self._pipeline([each.command for each in batch])
        missing = [at for at, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if missing:
            for script in {batch[at].script for at in missing}:
                await self._redis.script_load(script)
            again = await self._pipeline([batch[at].command for at in missing])
            for at, reply in zip(missing, again, strict=True):
                replies[at] = reply
        return replies

    async def _pipeline(self, commands: Sequence[Sequence[Argument]]) -> list[Any]:
        pipeline = self._redis.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        return await pipeline.execute(raise_on_error=False)

    def _finish(self, batch: Sequence[_ScriptCall], replies: Sequence[Any]) -> None:
        errors = [reply for reply in replies if isinstance(reply, Exception)]
        if errors:
            self._start_outage(errors[0], ())
        elif self.is_down:
            self.is_down = False
            _log.info("limits are shared in Redis again")
        for call, reply in zip(batch, replies, strict=True):
            if call.reply.done():
                continue
            if isinstance(reply, Exception):
                call.reply.set_exception(RedisUnavailable())
            else:
                call.reply.set_result(reply)

    def _start_outage(self, error: Exception, batch: Sequence[_ScriptCall]) -> None:
        """Fail the calls that wait, and start the rest; log `error` if the outage is new."""
        self._rests_until = asyncio.get_running_loop().time() + self._rest_s
        if not self.is_down:
            self.is_down = True
            _log.warning(
                "limits cannot be shared in Redis, each process applies its share: %s",
                str(error) or type(error).__name__,
            )
        for call in (*batch, *self._waiting):
            if not call.reply.done():
                call.reply.set_exception(RedisUnavailable())
        self._waiting = []


@cache
def _digest(script: str) -> str:
    return hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()


def _retrieve(reply: asyncio.Future[Any]) -> None:
    """Mark an error as retrieved: nothing waits for the reply of `post`."""
    if not reply.cancelled():
        reply.exception()
