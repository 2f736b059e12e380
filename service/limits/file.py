"""Reads `limits.toml` at start-up, and again when it changes."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from service.ensembles.watched_file import WatchedFile
from service.limits.parsing import LimitsError, parse_rules
from service.limits.rules import Rules


class LimitsFile(WatchedFile[Rules]):
    """The last valid rules of a file; none if it does not exist at the start.

    The constructor raises LimitsError.
    """

    def __init__(self, path: Path) -> None:
        parse = partial(parse_rules, source=str(path))
        super().__init__(path, parse, LimitsError, name="limits", absent=Rules())

    @property
    def rules(self) -> Rules:
        """The current rules."""
        return self.content
