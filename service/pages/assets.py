"""Style sheets and scripts of the pages, under names that contain the hash of their content.

Browsers store such a file for a year: a changed file has another name. A script imports others by
their plain names (`./events.js`); the served text has the names with hashes.
"""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

from quart import Blueprint, Response, request

from service.api.http.principal import needs_scope
from service.errors import RequestError

_PATH: Final = "/web/static/"
_YEAR_S: Final = 31_536_000
_TYPES: Final[Mapping[str, str]] = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_IMPORT = re.compile(r'(?<=["\'])\./([\w-]+\.js)(?=["\'])')


@dataclass(frozen=True, slots=True)
class Asset:
    """One file as it is served; `zipped` is the same content in gzip."""

    path: str
    content: bytes
    zipped: bytes
    content_type: str


class Assets:
    """The files of `service/pages/static`, read once.

    Raises LookupError for an import of an unknown script, RecursionError for imports in a circle.
    """

    def __init__(self) -> None:
        self._sources = {
            entry.name: entry.read_text("utf-8")
            for entry in (files("service.pages") / "static").iterdir()
            if entry.name.rpartition(".")[2] in _TYPES
        }
        self._assets: dict[str, Asset] = {}
        for name in sorted(self._sources):
            self._add(name)
        self._served = {asset.path: asset for asset in self._assets.values()}

    def path_of(self, name: str) -> str:
        """Return the address of a file by its plain name. Raises LookupError."""
        return self._assets[name].path

    def scripts_of(self, name: str) -> list[str]:
        """Return the addresses of a script and of all that it imports, itself first.

        A page names them in its head, so that a browser requests all at once.
        """
        found = dict.fromkeys([name])
        for each in found.copy():
            self._collect(each, found)
        return [self.path_of(each) for each in found]

    def find(self, path: str) -> Asset | None:
        """Return the file at an address."""
        return self._served.get(path)

    def _collect(self, name: str, found: dict[str, None]) -> None:
        for imported in _IMPORT.findall(self._sources[name]):
            if imported not in found:
                found[imported] = None
                self._collect(imported, found)

    def _add(self, name: str) -> Asset:
        if name not in self._assets:
            text = self._sources[name]
            if name.endswith(".js"):
                text = _IMPORT.sub(lambda match: self._add(match[1]).path, text)
            content, (stem, _, kind) = text.encode(), name.rpartition(".")
            path = f"{_PATH}{stem}.{hashlib.sha256(content).hexdigest()[:16]}.{kind}"
            self._assets[name] = Asset(path, content, gzip.compress(content, mtime=0), _TYPES[kind])
        return self._assets[name]


def install_assets(blueprint: Blueprint, assets: Assets) -> None:
    """Serve the files of `assets`."""

    @blueprint.get(f"{_PATH}<name>")
    @needs_scope("public")
    async def serve_asset(name: str) -> Response:
        asset = assets.find(_PATH + name)
        if asset is None:
            raise RequestError("not_found", f"There is no file {name!r}.")
        is_zipped = request.accept_encodings.quality("gzip") > 0
        response = Response(
            asset.zipped if is_zipped else asset.content, content_type=asset.content_type
        )
        if is_zipped:
            response.headers["Content-Encoding"] = "gzip"
        response.headers["Vary"] = "Accept-Encoding"
        response.headers["Cache-Control"] = f"public, max-age={_YEAR_S}, immutable"
        return response
