"""The accounts of a running service: resolver, caches, and their background work."""

from __future__ import annotations

import asyncio
import logging
from time import monotonic
from typing import TYPE_CHECKING

from service.accounts.key_use import KeyUse
from service.accounts.lookup import CachedLookup
from service.accounts.resolver import Resolver, SessionResolver
from service.errors import StorageUnavailable
from service.settings import Settings
from service.store.accounts.changes import AccountChanges
from service.store.accounts.credentials import CredentialRows
from service.store.database import Database
from telemetry import register_secret

if TYPE_CHECKING:
    from service.accounts.signing_keys import KeySource
    from service.accounts.tokens import Tokens

_POLL_S = 0.5  # a revocation takes effect within a second
_FLUSH_S = 60.0

_log = logging.getLogger(__name__)


class Accounts:
    """Resolves the callers of one process, and learns of changes by other processes.

    With AUTH=off there is nothing to resolve: `resolver` is None and nothing is polled.
    """

    def __init__(
        self, settings: Settings, database: Database, sessions: SessionResolver | None = None
    ) -> None:
        rows = CredentialRows(database)
        self._changes = AccountChanges(database)
        self._keys, self._users = CachedLookup(rows.read_keys), CachedLookup(rows.read_users)
        self._use = KeyUse(rows.write_last_uses)
        self._sessions = sessions
        self._number: int | None = None
        self._source = _open_key_source(settings)
        self.resolver = self._make_resolver(settings, sessions) if settings.requires_auth else None

    def forget(self) -> None:
        """Forget cached keys and users at once, after a change by this process."""
        self._keys.forget()
        self._users.forget()
        if self._sessions:
            self._sessions.forget()

    async def run(self) -> None:
        """Compare the number of changes, and store the last uses of keys, until cancelled."""
        if self.resolver is None:
            return
        flushed_at_s = monotonic()
        while True:
            await self._poll()
            await asyncio.sleep(_POLL_S)
            if monotonic() - flushed_at_s >= _FLUSH_S:
                await self._flush()
                flushed_at_s = monotonic()

    async def watch_signing_keys(self) -> None:
        """Keep the keys that verify tokens up to date until cancelled."""
        if self._source:
            await self._source.watch()

    async def close(self) -> None:
        """Store the last uses of keys and stop the queries in progress."""
        if self._source:
            await self._source.close()
        self._keys.close()
        self._users.close()
        await self._flush()

    async def _flush(self) -> None:
        await self._use.flush()
        if self._sessions:
            await self._sessions.flush()

    async def _poll(self) -> None:
        try:
            number = await self._changes.read_number()
        except StorageUnavailable as error:
            # Cached keys remain in use until their minute has passed.
            _log.debug("changes of accounts cannot be read: %s", error)
            return
        if number != self._number:
            self._number = number
            self.forget()

    def _make_resolver(self, settings: Settings, sessions: SessionResolver | None) -> Resolver:
        for secret in (settings.api_key, settings.jwt_secret):
            if secret:
                register_secret(secret.get_secret_value())
        static = settings.api_key.get_secret_value() if settings.api_key else None
        tokens = self._make_tokens(settings, self._source) if self._source else None
        return Resolver(self._keys, self._use, static_key=static, tokens=tokens, sessions=sessions)

    def _make_tokens(self, settings: Settings, source: KeySource) -> Tokens:
        from service.accounts.tokens import Tokens, make_verifier

        return Tokens(make_verifier(settings), source, self._users)


def _open_key_source(settings: Settings) -> KeySource | None:
    if not (settings.jwt_secret or settings.jwt_jwks):
        return None
    # Imported here: PyJWT and its cryptography take 60 ms, needed only for tokens.
    from service.accounts.signing_keys import open_key_source

    return open_key_source(settings)
