"""Reads `ensembles.toml` at start-up, and again when it changes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from service.ensembles.catalog import AgentDefaults, Catalog, Check, EnsemblesError, parse_ensembles
from service.ensembles.watched_file import WatchedFile


class EnsemblesFile(WatchedFile[Catalog]):
    """The last valid catalog of a file. The constructor raises EnsemblesError."""

    def __init__(self, path: Path, defaults: AgentDefaults, checks: Mapping[str, Check]) -> None:
        parse = partial(parse_ensembles, source=str(path), defaults=defaults, checks=checks)
        super().__init__(path, parse, EnsemblesError, name="ensembles")

    @property
    def catalog(self) -> Catalog:
        """The current catalog."""
        return self.content
