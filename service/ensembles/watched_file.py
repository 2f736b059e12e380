"""A configuration file that is read at start-up, and again when it changes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Generic, TypeVar

Content = TypeVar("Content")

_log = logging.getLogger(__name__)

_INTERVAL_S = 2.0


class WatchedFile(Generic[Content]):
    """The last valid content of a file.

    `parse` turns its text into the content and raises `fault` for invalid text. The constructor
    raises `fault` for an invalid file, and for a missing one unless there is a content for it
    (`absent`). Later an invalid or missing file is logged, and the content remains as it was.
    """

    def __init__(
        self,
        path: Path,
        parse: Callable[[str], Content],
        fault: type[Exception],
        *,
        name: str,
        absent: Content | None = None,
    ) -> None:
        self._path = path
        self._parse = parse
        self._fault = fault
        self._name = name
        self._version = self._read_version()
        is_absent = absent is not None and self._version is None and not path.exists()
        self._content = absent if is_absent and absent is not None else self._read()
        self._reload_requested = asyncio.Event()

    @property
    def content(self) -> Content:
        """The current content."""
        return self._content

    def reload_if_changed(self) -> bool:
        """Read the file if it has changed; return whether there is a new content."""
        return self._reload() or False

    def _reload(self) -> bool | None:
        """Return whether a changed file is valid, None if it has not changed."""
        version = self._read_version()
        if version == self._version:
            return None
        self._version = version
        try:
            self._content = self._read()
        except self._fault as error:
            _log.error(
                "the changed %s file is invalid, its previous version remains in use: %s",
                self._name,
                error,
            )
            return False
        _log.info("the %s file was read again", self._name)
        return True

    def request_reload(self) -> None:
        """Make `watch` read the file at once, also when it has not changed."""
        self._version = None
        self._reload_requested.set()

    async def watch(
        self, changed: Callable[[Content], None], refused: Callable[[], None] = lambda: None
    ) -> None:
        """Check for changes every two seconds until cancelled.

        Call `changed` after each, `refused` when the changed file is invalid.
        """
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_INTERVAL_S):
                    await self._reload_requested.wait()
            self._reload_requested.clear()
            is_valid = self._reload()
            if is_valid:
                changed(self._content)
            elif is_valid is False:
                refused()

    def _read_version(self) -> tuple[int, int] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size

    def _read(self) -> Content:
        try:
            text = self._path.read_text("utf-8-sig")
        except UnicodeDecodeError as error:
            raise self._fault(f"{self._path}: cannot be read: it is not UTF-8") from error
        except OSError as error:
            raise self._fault(f"{self._path}: cannot be read: {error}") from error
        return self._parse(text)
