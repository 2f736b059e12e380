"""The exchanges of `tests/dialects/servers`: bytes that model servers send, and their meaning."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests._support.paths import ROOT

FOLDER = ROOT / "tests" / "dialects" / "servers"
_STATUS_LINES = {200: "OK"}


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """One response of a server, and what a client should read from it.

    `finish` is OpenAI's reason for the end; `error` is the code of the failure, which has
    `sentence` in its message. Usage has `input`, `output`, `cached` and `reasoning` tokens.
    """

    server: str
    name: str
    model: str
    body: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    text: str = ""
    reasoning: str = ""
    finish: str = ""
    calls: Sequence[Mapping[str, str]] = ()
    usage: Mapping[str, int] | None = None
    error: str = ""
    sentence: str = ""
    retry_after_s: float | None = None

    @property
    def id(self) -> str:
        return f"{self.server}: {self.name}"

    @property
    def response(self) -> bytes:
        """The complete response of a server that then closes the connection."""
        kind = "text/event-stream" if self.body.lstrip()[:1] not in b"{[" else "application/json"
        headers = {"content-type": kind, **self.headers, "connection": "close"}
        lines = [f"HTTP/1.1 {self.status} {_STATUS_LINES.get(self.status, 'Error')}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join([*lines, "", ""]).encode() + self.body


def read_exchanges() -> list[Exchange]:
    """Return the exchanges of all files."""
    return [each for file in sorted(FOLDER.glob("*.toml")) for each in _read(file.stem)]


def read_streams() -> list[Exchange]:
    """Return the main stream of each server."""
    return [each for each in read_exchanges() if each.name == "stream"]


def _read(server: str) -> list[Exchange]:
    content = tomllib.loads((FOLDER / f"{server}.toml").read_text("utf-8"))
    assert content["source"].startswith("https://")
    assert content["date"]
    return [_make(server, content["model"], each) for each in content["exchange"]]


def _make(server: str, model: str, table: dict[str, Any]) -> Exchange:
    body = table.pop("body")
    if table.pop("newline", "lf") == "crlf":
        body = body.replace("\n", "\r\n")
    return Exchange(server=server, model=model, body=body.encode(), **table)
