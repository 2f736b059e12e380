"""A model server for tests of the chat page: it writes the text that a question names.

`Please write NAME.` names one of `TEXTS`. The model `writer` writes it; the model `agent` writes a
short answer, and `broken` none.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler
from typing import Any, Final

from tests._support.llm.ensembles import as_toml
from tests._support.llm.unbounded_server import serving
from tests._support.pages.hostile_markdown import HOSTILE

_SENTENCE: Final = "The sea follows the moon, *slowly*, and the shore follows the sea. "
SHORT: Final = (
    "# Tides\n\nThe **moon** pulls; see [a map](https://map.example/).\n\n"
    "| sea | rise |\n|-----|-----:|\n| North | 4 m |\n\n```python\nprint('high')\n```\n\n"
    "- one\n- two\n"
)
TEXTS: Final[Mapping[str, str]] = {
    "short": SHORT,
    "slow": "".join(f"Line {n} of the **slow** answer.\n\n" for n in range(80)),
    "hostile": "\n\n".join(HOSTILE),
    "megabyte": "".join(f"({n}) {_SENTENCE * 10}\n\n" for n in range(1_500)),
    "paragraph": _SENTENCE * 15_000,
    "code": "```python\n" + "x = [n for n in range(10)]  # a comment\n" * 25_000 + "```\n",
}  # fmt: skip
AGENT_ANSWER: Final = "An agent answers **briefly**."
_PAUSES_S: Final = {"slow": 0.025}


class WritingHandler(BaseHTTPRequestHandler):
    """Answers one request of the service."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if asked["model"] == "broken":
            self.send_error(400)
            return
        named = re.search(r"[Ww]rite (\w+)", str(asked["messages"][-1]["content"]))
        name = named[1] if named and asked["model"] == "writer" else ""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        with contextlib.suppress(OSError):  # the service has stopped the run
            for piece in _divide(TEXTS.get(name, AGENT_ANSWER)):
                self.wfile.write(_chunk({"content": piece}))
                time.sleep(_PAUSES_S.get(name, 0))
            self.wfile.write(_chunk({}, "stop") + b"data: [DONE]\n\n")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (the base's name)
        """Write no log."""


def _divide(text: str) -> Iterator[str]:
    size = 7 if len(text) < 50_000 else 700
    return (text[start : start + size] for start in range(0, len(text), size))


def _chunk(delta: Mapping[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: " + json.dumps({"id": "chatcmpl-1", "choices": [choice]}).encode() + b"\n\n"


def writing() -> AbstractContextManager[str]:
    """Serve until the block ends; yields the base URL."""
    return serving(WritingHandler)


def writing_ensembles(base_url: str) -> str:
    """Return an `ensembles.toml`: two agents, two of which one fails, fifty, and one alone."""
    common = {"max_tokens": 1_000_000, "retries": 0}
    agents = {name: {"model": "agent", **common} for name in ("first", "second")}
    agents |= {"writer": {"model": "writer", **common}, "broken": {"model": "broken", **common}}

    def combine(names: Sequence[str]) -> dict[str, Any]:
        return {"agents": [*names], "combiner": "writer", "straggler_grace_s": "none"}

    ensembles: dict[str, Any] = {
        "fanout": combine(["first", "second"]),
        "lopsided": combine(["first", "broken"]),
        "crowd": combine(["first"] * 50),
        "alone": {"strategy": "solo", "agents": ["writer"]},
    }
    return as_toml(agents, ensembles, {}, base_url)
