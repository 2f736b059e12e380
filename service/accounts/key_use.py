"""The times at which API keys were used last, collected in memory and stored once per minute."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime

from service.errors import StorageUnavailable

_MAX_KEYS = 50_000


class KeyUse:
    """Collects when each key was used, so that a request costs no write."""

    def __init__(self, write: Callable[[Mapping[str, datetime]], Awaitable[None]]) -> None:
        self._write = write
        self._last: dict[str, datetime] = {}

    def note(self, key_id: str, now: datetime) -> None:
        """Remember that a key is used now."""
        if len(self._last) < _MAX_KEYS or key_id in self._last:
            self._last[key_id] = now

    async def flush(self) -> None:
        """Store the collected times; without the database they wait for the next attempt."""
        taken, self._last = self._last, {}
        if not taken:
            return
        try:
            await self._write(taken)
        except StorageUnavailable:
            self._last = {**taken, **self._last}
