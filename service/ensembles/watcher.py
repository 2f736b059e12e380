"""`ensembles.toml` on disk: read at start-up, reread when it changes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from service.ensembles.catalog import AgentDefaults, Catalog, Check, EnsemblesError, parse_ensembles

_log = logging.getLogger(__name__)

_LOOK_EVERY_S = 2.0


class EnsemblesFile:
    """Holds the last good catalog of a file.

    Raises EnsemblesError when the file cannot be used at the start; later a bad file is logged
    and the catalog stays.
    """

    def __init__(self, path: Path, defaults: AgentDefaults, checks: Mapping[str, Check]) -> None:
        self._path = path
        self._defaults = defaults
        self._checks = checks
        self._seen = self._version()
        self._catalog = self._read()

    @property
    def catalog(self) -> Catalog:
        return self._catalog

    def reload_if_changed(self) -> bool:
        """Return whether a new catalog is in force."""
        version = self._version()
        if version == self._seen:
            return False
        self._seen = version
        try:
            self._catalog = self._read()
        except EnsemblesError as error:
            _log.error("the changed ensembles file is refused, the old one stays: %s", error)
            return False
        _log.info("the ensembles file was reread")
        return True

    async def watch(self, changed: Callable[[Catalog], None]) -> None:
        """Look for a change every two seconds until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            if self.reload_if_changed():
                changed(self._catalog)

    def _version(self) -> tuple[int, int] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size

    def _read(self) -> Catalog:
        try:
            text = self._path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise EnsemblesError(f"{self._path}: cannot be read: {error}") from error
        return parse_ensembles(
            text, source=str(self._path), defaults=self._defaults, checks=self._checks
        )
