"""A model server that refuses what strict servers refuse, and reports it in their formats.

The model's name selects the refusals, separated by commas: `strict,system,temperature`. The answer
is the JSON of the request without its model, so that a test sees what arrived.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests._support.llm.unbounded_server import serving


class _StrictHandler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        refusals = body.pop("model").split(",")
        if self.path.partition("?")[0] != "/v1/chat/completions":
            self._respond(404, {"detail": f"Not found: {self.path}"})
        elif fault := next(filter(None, (_find_fault(each, body) for each in refusals)), None):
            self._respond(*fault)
        else:
            self._answer(body)

    def _answer(self, body: Mapping[str, Any]) -> None:
        text = json.dumps(body)
        if not body["stream"]:
            choice = {"index": 0, "message": {"content": text}, "finish_reason": "stop"}
            self._respond(200, {"choices": [choice]})
            return
        choice = {"index": 0, "delta": {"content": text}, "finish_reason": "stop"}
        data = f"data: {json.dumps({'choices': [choice]})}\n\ndata: [DONE]\n\n"
        self._send(200, "text/event-stream", data.encode())

    def _respond(self, status: int, document: object) -> None:
        self._send(status, "application/json", json.dumps(document).encode())

    def _send(self, status: int, kind: str, data: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base's name
        """Write nothing."""


def _find_fault(refusal: str, body: Mapping[str, Any]) -> tuple[int, object] | None:
    """Return the status and the document of a refusal; None if the request is accepted."""
    roles = [each["role"] for each in body["messages"]]
    if refusal == "one-system" and "system" in roles[1:]:
        return 400, {"object": "error", "message": "System message must be at the beginning."}
    if refusal == "no-system" and "system" in roles:
        return 400, {"object": "error", "message": "System role not supported"}
    if refusal == "turns" and "useruser" in "".join(roles):
        return 500, {"error": {"code": 500, "message": "Conversation roles must alternate"}}
    if refusal == "empty-calls" and any(each.get("tool_calls") == [] for each in body["messages"]):
        return 400, {"error": {"message": "[] is too short - 'messages.1.tool_calls'"}}
    if refusal in body:
        fault = {"loc": ["body", refusal], "msg": "Extra inputs are not permitted"}
        return 422, {"detail": [{"type": "extra_forbidden", **fault}]}
    return None


def strict_server() -> AbstractContextManager[str]:
    """Serve the models until the block ends; yields the base URL."""
    return serving(_StrictHandler)
