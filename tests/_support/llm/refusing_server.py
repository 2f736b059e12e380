"""A model server that refuses each model's calls with a given response, and counts them."""

from __future__ import annotations

import contextlib
import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Refusal:
    """The status, the error object and the further headers of a response."""

    status: int
    error: Mapping[str, Any] = field(default_factory=lambda: {"message": "No."})
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class RefusingServer:
    """`url` ends in /v1; `calls` counts the calls of each model."""

    refusals: Mapping[str, Refusal]
    url: str = ""
    calls: Counter[str] = field(default_factory=Counter)

    @contextlib.contextmanager
    def serve(self) -> Iterator[RefusingServer]:
        """Serve from threads until the block ends."""
        outer = self

        class _Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.calls[body["model"]] += 1
                refusal = outer.refusals[body["model"]]
                data = json.dumps({"error": refusal.error}).encode()
                self.send_response(refusal.status)
                for name, value in refusal.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{server.server_port}/v1"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
