"""A model server in raw sockets whose answers break off, and which continues them.

The name of a model has its options: `break=reset&at=40&repeat=words` breaks the first answer to a
question off after 40 bytes of its text, and starts the second with its last words.
"""

from __future__ import annotations

import json
import re
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

ANSWER = (
    "Gravity pulls: jede Masse zieht jede andere an 🚀. Größere Körper ziehen stärker.\n\n"
    "- Drop two stones.\n- Measure the time.\n\n```python\nprint(9.81)\n```\nThat is naïve, "
    "but it works on the Moon, too."
)
_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
    b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
)
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass
class BreakingServer:
    """The requests that arrived, by model, and the address."""

    requests: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    url: str = ""

    def answer(self, connection: socket.socket) -> None:
        """Answer the request of one connection."""
        with connection, suppress(OSError):
            request = _read_request(connection)
            model = request["model"]
            asked = self.requests.setdefault(model, [])
            asked.append(request)
            options = dict(parse_qsl(model.partition("?")[2]))
            cut = int(options["at"])
            connection.sendall(_HEAD)
            if len(asked) <= int(options.get("times", 1)):
                _break_off(connection, ANSWER.encode()[:cut], options["break"])
                return
            received = _find_received(request)
            start = _find_start(received, options.get("repeat", ""))
            _send_pieces(connection, ANSWER[start:])
            _send(connection, _event({}, "stop") + b"data: [DONE]\n\n")
            connection.sendall(b"0\r\n\r\n")


def _find_received(request: dict[str, Any]) -> str:
    """Return the text that is to be continued."""
    texts = [each["content"] for each in request["messages"] if each["role"] == "assistant"]
    return str(texts[-1])


def _find_start(received: str, repeat: str) -> int:
    """Return the position from which the answer is sent again."""
    if repeat == "everything":
        return 0
    if repeat == "sentence":
        return max(match.end() for match in re.finditer(r"^|[.!]\s+", received))
    if repeat == "words":
        return max(0, [match.start() for match in re.finditer(r"\S+", received)][-3])
    return len(received)


def _break_off(connection: socket.socket, text: bytes, way: str) -> None:
    whole = text.decode(errors="ignore")
    _send_pieces(connection, whole)
    event = _event({"content": ANSWER[len(whole) : len(whole) + 3]})
    if way in ("reset", "half_line", "half_character"):
        raw = event.decode().encode()
        at = raw.index(b'"content"') + 14 if way == "half_character" else 20
        connection.sendall(b"%x\r\n%b" % (len(raw), raw[:at]))  # in the middle of a chunk
    if way == "error":
        _send(connection, b'data: {"error": {"message": "overloaded", "code": 503}}\n\n')
    if way == "silence":
        connection.recv(1)  # until the client gives up
    if way == "end":
        connection.sendall(b"0\r\n\r\n")  # a complete body without the reason for the end
    if way == "reset":
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)


def _send_pieces(connection: socket.socket, text: str) -> None:
    for at in range(0, len(text), 4):
        _send(connection, _event({"content": text[at : at + 4]}))


def _send(connection: socket.socket, data: bytes) -> None:
    connection.sendall(b"%x\r\n%b\r\n" % (len(data), data))


def _event(delta: dict[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    data = json.dumps({"id": "c", "choices": [choice]}, ensure_ascii=False)
    return b"data: " + data.encode() + b"\n\n"


def _read_request(connection: socket.socket) -> dict[str, Any]:
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65_536)
    head, _, body = data.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
    assert length
    while len(body) < int(length[1]):
        body += connection.recv(65_536)
    request: dict[str, Any] = json.loads(body)
    return request


@contextmanager
def breaking() -> Iterator[BreakingServer]:
    """Serve on a local port, with a thread for each connection."""
    server, listener = BreakingServer(), socket.create_server(("127.0.0.1", 0))
    server.url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=server.answer, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield server
    finally:
        listener.close()
