"""Reads `ensembles.toml` at start-up, and again when it changes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from service.ensembles.catalog import AgentDefaults, Catalog, Check, EnsemblesError, parse_ensembles

_log = logging.getLogger(__name__)

_INTERVAL_S = 2.0


class EnsemblesFile:
    """The last valid catalog of a file.

    The constructor raises EnsemblesError for an invalid file. Later an invalid file is logged, and
    the catalog remains as it was.
    """

    def __init__(self, path: Path, defaults: AgentDefaults, checks: Mapping[str, Check]) -> None:
        self._path = path
        self._defaults = defaults
        self._checks = checks
        self._version = self._read_version()
        self._catalog = self._read()
        self._reload_requested = asyncio.Event()

    @property
    def catalog(self) -> Catalog:
        """The current catalog."""
        return self._catalog

    def reload_if_changed(self) -> bool:
        """Read the file if it has changed; return whether there is a new catalog."""
        version = self._read_version()
        if version == self._version:
            return False
        self._version = version
        try:
            self._catalog = self._read()
        except EnsemblesError as error:
            _log.error(
                "the changed ensembles file is invalid, its previous version remains in use: %s",
                error,
            )
            return False
        _log.info("the ensembles file was read again")
        return True

    def request_reload(self) -> None:
        """Make `watch` read the file at once, also when it has not changed."""
        self._version = None
        self._reload_requested.set()

    async def watch(self, changed: Callable[[Catalog], None]) -> None:
        """Check for changes every two seconds until cancelled; call `changed` after each."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_INTERVAL_S):
                    await self._reload_requested.wait()
            self._reload_requested.clear()
            if self.reload_if_changed():
                changed(self._catalog)

    def _read_version(self) -> tuple[int, int] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size

    def _read(self) -> Catalog:
        try:
            text = self._path.read_text("utf-8-sig")
        except UnicodeDecodeError as error:
            raise EnsemblesError(f"{self._path}: cannot be read: it is not UTF-8") from error
        except OSError as error:
            raise EnsemblesError(f"{self._path}: cannot be read: {error}") from error
        return parse_ensembles(
            text, source=str(self._path), defaults=self._defaults, checks=self._checks
        )
