"""The keys that verify tokens: a shared secret, a JWKS file, or a JWKS server."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Protocol

import httpx

from service.access.jwks import JwksError, KeySet, VerificationKey, parse_jwks
from service.access.tokens import HMAC
from service.ensembles.watched_file import WatchedFile
from service.settings import Settings, SettingsError

_REFRESH_S = 300.0
_RETRY_S = 15.0  # while there are no keys yet
_UNKNOWN_KEY_INTERVAL_S = 60.0
_TIMEOUT_S = 5.0
_MAX_BYTES = 262_144

_log = logging.getLogger(__name__)


class KeySource(Protocol):
    """Provides the current keys. `watch` updates them until cancelled."""

    @property
    def keys(self) -> KeySet | None:
        """The current keys, None while they have not been loaded."""

    async def reload(self) -> None:
        """Load the keys again because a token names an unknown one, unless that is recent."""

    async def watch(self) -> None:
        """Keep the keys up to date until cancelled."""

    async def close(self) -> None:
        """Stop loading keys."""


class SecretKey:
    """A shared secret, which does not change while the service runs."""

    def __init__(self, secret: str) -> None:
        self.keys: KeySet | None = KeySet([VerificationKey(None, HMAC, secret.encode())])

    async def reload(self) -> None:
        """Do nothing."""

    async def watch(self) -> None:
        """Do nothing."""

    async def close(self) -> None:
        """Do nothing."""


class JwksFile:
    """A JWKS file, read again when it changes. The constructor raises SettingsError."""

    def __init__(self, path: Path) -> None:
        def parse(text: str) -> KeySet:
            try:
                return parse_jwks(text)
            except JwksError as error:
                raise JwksError(f"{path}: cannot be used: {error}") from error

        try:
            self._file: WatchedFile[KeySet] = WatchedFile(path, parse, JwksError, name="JWKS")
        except JwksError as error:
            raise SettingsError(f"JWT_JWKS: {error}") from error

    @property
    def keys(self) -> KeySet | None:
        return self._file.content

    async def reload(self) -> None:
        self._file.reload_if_changed()

    async def watch(self) -> None:
        await self._file.watch(lambda _: None)

    async def close(self) -> None:
        """Do nothing."""


class JwksServer:
    """A JWKS at a URL, read every five minutes; an unreachable server leaves the last keys.

    A token with an unknown key id has it read at once, at most once per minute: issuers change
    their keys, and attackers invent ids.
    """

    def __init__(
        self,
        url: str,
        client: httpx.AsyncClient,
        read_clock_s: Callable[[], float] = monotonic,
    ) -> None:
        self.keys: KeySet | None = None
        self._url = url
        self._client = client
        self._read_clock_s = read_clock_s
        self._reloaded_at_s = -math.inf
        self._loading: asyncio.Task[None] | None = None

    async def reload(self) -> None:
        if self._loading is None or self._loading.done():
            now_s = self._read_clock_s()
            if now_s - self._reloaded_at_s < _UNKNOWN_KEY_INTERVAL_S:
                return
            self._reloaded_at_s = now_s
        await asyncio.shield(self._start())

    async def watch(self) -> None:
        while True:
            await asyncio.shield(self._start())
            await asyncio.sleep(_RETRY_S if self.keys is None else _REFRESH_S)

    async def close(self) -> None:
        if self._loading:
            self._loading.cancel()
        await self._client.aclose()

    def _start(self) -> asyncio.Task[None]:
        """Return the task that loads the keys, which all who wait for it share."""
        if self._loading is None or self._loading.done():
            self._loading = asyncio.create_task(self._load())
        return self._loading

    async def _load(self) -> None:
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                self.keys = parse_jwks(await self._fetch())
        except (httpx.HTTPError, TimeoutError, JwksError) as error:
            remaining = "the last keys remain in use" if self.keys else "tokens cannot be verified"
            reason = str(error) or type(error).__name__
            _log.warning("JWT_JWKS cannot be read, %s: %s", remaining, reason)
        except Exception:  # noqa: BLE001  # the edge of a task: the next attempt may succeed
            _log.exception("unexpected error while reading JWT_JWKS")

    async def _fetch(self) -> bytes:
        """Return the document. Raises JwksError, HTTPError."""
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        data = bytearray()
        async with self._client.stream("GET", self._url, headers=headers) as response:
            if response.status_code != httpx.codes.OK:
                raise JwksError(f"the server responded with status {response.status_code}")
            async for block in response.aiter_raw():
                data += block
                if len(data) > _MAX_BYTES:
                    raise JwksError(f"it is larger than {_MAX_BYTES:,} bytes")
        return bytes(data)


def open_key_source(settings: Settings) -> KeySource | None:
    """Return the source that the settings name, None without one. Raises SettingsError."""
    if settings.jwt_secret:
        return SecretKey(settings.jwt_secret.get_secret_value())
    if settings.jwt_jwks is None:
        return None
    if "://" in settings.jwt_jwks:
        return JwksServer(settings.jwt_jwks, httpx.AsyncClient())
    return JwksFile(Path(settings.jwt_jwks))
