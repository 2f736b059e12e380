"""A model server that sends endless answers and answers with secrets."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CHUNKS = 1000
# Each character takes six bytes in ASCII JSON: some 6 MB in all.
TEXT = "\u00e9" * 1000


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if asked["model"] == "blabber":
            self._blab()
        else:
            self._gush()

    def _blab(self) -> None:
        """Quote the key back, as real servers have done."""
        said = json.dumps({"error": {"message": f"Wrong: {self.headers['Authorization']}"}})
        self.send_response(400)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said.encode())

    def _gush(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        chunk = json.dumps({"choices": [{"index": 0, "delta": {"content": TEXT}}]})
        with contextlib.suppress(OSError):  # it was not wanted to the end
            for _ in range(CHUNKS):
                self.wfile.write(f"data: {chunk}\n\n".encode())
            end = json.dumps({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
            self.wfile.write(f"data: {end}\n\ndata: [DONE]\n\n".encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base's name
        """Say nothing."""


@contextlib.contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Serve from threads until the block ends; yields the base URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def gushing() -> AbstractContextManager[str]:
    """Serve the models until the block ends; yields the base URL."""
    return serving(_Handler)
