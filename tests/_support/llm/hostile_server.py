"""A model server that attacks its client, as a process; the model's name selects the response.

A process, because a flood from a thread of the test would delay the test's own measurements.
"""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

from tests._support.llm.hostile_responses import RESPONSES, Step
from tests._support.paths import ROOT


@contextlib.contextmanager
def serving_hostile_responses() -> Iterator[str]:
    """Serve until the block ends; yields the base URL."""
    command = [sys.executable, "-m", __name__]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
        finally:
            process.kill()


def _serve() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=100) as server:
        print(server.getsockname()[1], flush=True)
        while True:
            connection, _ = server.accept()
            threading.Thread(target=_respond, args=[connection], daemon=True).start()


def _respond(connection: socket.socket) -> None:
    with connection, contextlib.suppress(OSError):
        request = _receive(connection)
        for step in RESPONSES[request["model"]]():
            _take(step, connection)


def _take(step: Step, connection: socket.socket) -> None:
    if isinstance(step, bytes):
        connection.sendall(step)
        return
    connection.settimeout(step)
    with contextlib.suppress(TimeoutError):  # returns nothing when the client has left
        if not connection.recv(65_536):
            raise ConnectionResetError
    connection.settimeout(None)


def _receive(connection: socket.socket) -> dict[str, str]:
    """Return the JSON body of a request."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65_536)
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    while len(body) < length:
        body += connection.recv(1_048_576)
    request: dict[str, str] = json.loads(body)
    return request


if __name__ == "__main__":
    _serve()
