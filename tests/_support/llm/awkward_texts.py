"""A model server that sends texts which are hard to transport, token by token.

The word behind `recite` in the last message chooses the text; who combines recites it as well.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests._support.llm.unbounded_server import serving

_LINES = ["a\nb", "\n", "\n\n", "c\r\n", "d\r", "\ne", "\r", "f", "\r\r\n", "g\n", "\r", "h\u2028"]
_BREAKS = ["i\u2029", "\u0085j", "\x0b\x0c", "\x1c\x1d\x1e", "k\u2028\nl", "\x1b[31m", "\x7f\x08"]
_EMOJI = ["👨\u200d", "👩\u200d", "👧\u200d👦", " 🇩", "🇪", " 👍", "🏽", "🧑‍🚀", "❤", "\ufe0f"]
_HALVES = ["\ud83d", "\ude00", "x\ud83e", "\udd16y", "\ud83d\ude80"]  # as JSON escapes, each
_MARKS = ["e", "\u0301", " Z̷̤a̴l̸go", " n\u0303", " שלום", " مرحبا", "\u202eo\u202c", "\u200f"]
_SPACES = [
    "  two",
    "three   ",
    "\t",
    " ",
    "",
    "\u00a0",
    "\u3000",
    "\u200b",
    "",
    "\ufeff",
    "   four",
]
_SSE = [
    "\ndata: x", "\ndata:y\n", "event: done\n", "\nid: 7\n", "retry: 1\n", ": comment\n",
    "data: [DONE]\n\n", "[DONE]", "\n[DONE]\n", " [DONE]", "[DONE", "]", "data", ":", " ", "event",
]  # fmt: skip
_JSON = [
    '{"error": "x"}', '\n{"error": {"message": "no"}}\n', '{"token": "t"}', '{"done": "true"}',
    '"', "\\", "\\n", "\\u0000", "\\ud83d", "null", "{", "}", "[", "]", "true", "0", '{"chunk": "',
]  # fmt: skip
_HTML = ["</script>", "<!--", "-->", "&amp;", "<b>", "]]>", "%0A", "${x}", "{{x}}", "'; --"]

TOKENS: Mapping[str, Sequence[str]] = {
    "lines": ["", "  ", *_LINES, *_BREAKS, "end"],
    "letters": [*_EMOJI, *_HALVES, *_MARKS],
    "spaces": [" ", "\t", *_SPACES, " \n ", "\t", " "],
    "markers": [*_SSE, *_JSON, *_HTML],
    "everything": [*_SPACES, *_LINES, *_EMOJI, *_HALVES, *_SSE, *_BREAKS, *_JSON, *_MARKS, *_HTML],
    "damage": ["a\x00b", "\x00", "c\ud83d", "d", "\ude00e"],
    "megabyte": ["é\u2028 data: 😀\n" * 400 + f"{n}" for n in range(150)],
}


def text_of(name: str) -> str:
    """Return a text as one string; half a character without its other half, or NUL, is U+FFFD."""
    joined = "".join(TOKENS[name]).encode("utf-16", "surrogatepass")
    return joined.decode("utf-16", "replace").replace("\0", "\ufffd")


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        recite = re.search(r"recite (\w+)", str(asked["messages"][-1]["content"]))
        assert recite
        tokens = TOKENS[recite[1]]
        if asked.get("stream"):
            self._stream(tokens)
        else:
            self._answer("".join(tokens))

    def _answer(self, text: str) -> None:
        choice = {"index": 0, "message": {"content": text}, "finish_reason": "stop"}
        body = json.dumps({"id": "chatcmpl-1", "choices": [choice]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, tokens: Sequence[str]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        with contextlib.suppress(OSError):  # it was not wanted to the end
            for token in tokens:
                self.wfile.write(_chunk({"content": token}))
            self.wfile.write(_chunk({}, "stop") + b"data: [DONE]\n\n")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base's name
        """Say nothing."""


def _chunk(delta: Mapping[str, Any], finish: str | None = None) -> bytes:
    """Return one event; as UTF-8 where that is possible, halves of characters as escapes."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    document = {"id": "chatcmpl-1", "choices": [choice]}
    try:
        data = json.dumps(document, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        data = json.dumps(document).encode()
    return b"data: " + data + b"\n\n"


def reciting() -> AbstractContextManager[str]:
    """Serve until the block ends; yields the base URL."""
    return serving(_Handler)
