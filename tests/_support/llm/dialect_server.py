"""A model server that answers with exactly the bytes that a test gives it, over a socket."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests._support.llm.unbounded_server import serving

DONE = b"data: [DONE]\n\n"
EVENTS = "text/event-stream"
JSON = "application/json"


def encode_event(data: Any) -> bytes:
    """Return an event of a stream with `data` as JSON."""
    return b"data: " + json.dumps(data).encode() + b"\n\n"


def chunk(content: Any = None, finish: Any = None, **delta: Any) -> bytes:
    """Return a chunk of a stream with this content and reason for the end."""
    fields = delta if content is None else {"content": content, **delta}
    return encode_event({"choices": [{"index": 0, "delta": fields, "finish_reason": finish}]})


def document(content: Any = None, finish: Any = "stop", **fields: Any) -> bytes:
    """Return an answer that is not streamed. `fields` are those of the message."""
    message = {"role": "assistant", "content": content, **fields}
    return json.dumps({"choices": [{"message": message, "finish_reason": finish}]}).encode()


def stream(*chunks: bytes) -> list[bytes]:
    """Return the blocks of a complete stream."""
    return [*chunks, DONE]


@dataclass
class Dialect:
    """The answers of the models, by name, and the requests that arrived.

    An answer is a list of blocks; None in it waits until the client disconnects.
    """

    answers: dict[str, Sequence[bytes | None]] = field(default_factory=dict)
    content_type: str = EVENTS
    headers: dict[str, str] = field(default_factory=dict)
    requests: list[dict[str, Any]] = field(default_factory=list)
    url: str = ""

    def prompt_of(self, model: str) -> str:
        """Return the last message that `model` was sent last."""
        found = [each for each in self.requests if each["model"] == model]
        return str(found[-1]["messages"][-1]["content"])


def _make_handler(dialect: Dialect) -> type[BaseHTTPRequestHandler]:
    class DialectHandler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            dialect.requests.append(request)
            self.send_response(200)
            self.send_header("Content-Type", dialect.content_type)
            for name, value in dialect.headers.items():
                self.send_header(name, value)
            self.send_header("Connection", "close")
            self.end_headers()
            with contextlib.suppress(OSError):
                for block in dialect.answers[request["model"]]:
                    self._send(block)

        def _send(self, block: bytes | None) -> None:
            if block is None:
                self.connection.recv(1)
                return
            self.wfile.write(block)
            time.sleep(0.002)  # so that the blocks are read one by one

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base's name
            """Log nothing."""

    return DialectHandler


@contextlib.contextmanager
def speaking(dialect: Dialect) -> Iterator[Dialect]:
    """Serve `dialect` until the block ends."""
    with serving(_make_handler(dialect)) as url:
        dialect.url = url
        yield dialect
