"""A stored conversation on a model with another tokenizer and a small window, over real sockets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from tests._support.clients.api import client_of
from tests._support.llm.unbounded_server import serving
from tests._support.servers.services import Start

WINDOW = 2_048
ENSEMBLES = """
[agents.small]
model = "small"
context_tokens = 2048
max_tokens = 200
[agents.untold]
model = "untold"
max_tokens = 200
[ensembles.small]
strategy = "solo"
agents = ["small"]
[ensembles.untold]
strategy = "solo"
agents = ["untold"]
"""
DEFAULT = 'default = "small"\n'


class _SmallWindow(BaseHTTPRequestHandler):
    """A model whose tokenizer makes a token of each character.

    The model `untold` reports no usage, and its refusal states no numbers.
    """

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        tokens = sum(len(each["content"]) for each in body["messages"])
        is_untold = body["model"] == "untold"
        if tokens + body["max_tokens"] > WINDOW:
            reason = "" if is_untold else f" ({tokens} tokens > {WINDOW} maximum)"
            self._send(400, {"error": f"the input exceeds the context window{reason}"})
            return
        choice = {"index": 0, "delta": {"content": "Noted."}, "finish_reason": "stop"}
        usage = {} if is_untold else {"prompt_tokens": tokens, "completion_tokens": 2}
        self._send(200, {"choices": [choice], **({"usage": usage} if usage else {})})

    def _send(self, status: int, document: object) -> None:
        text = json.dumps(document)
        data = f"data: {text}\n\ndata: [DONE]\n\n" if status == 200 else text
        self.send_response(status)
        kind = "text/event-stream" if status == 200 else "application/json"
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base's name
        """Write nothing."""


@pytest.fixture(scope="module")
def small_url() -> Iterator[str]:
    with serving(_SmallWindow) as url:
        yield url


@pytest.mark.parametrize(("ensemble", "settled"), [("small", 0), ("untold", 8)])
async def test_a_long_conversation_never_gets_stuck(
    start: Start, small_url: str, tmp_path: Path, ensemble: str, settled: int
) -> None:
    file = tmp_path / "small.toml"
    file.write_text(DEFAULT + ENSEMBLES)
    service = start(ENSEMBLES_FILE=str(file), LLM_BASE_URL=small_url)
    statuses = []
    async with client_of(service.url) as api:
        for turn in range(16):
            numbers = " ".join(str(turn * 70 + number) for number in range(70))
            body = {
                "model": ensemble,
                "conversation_id": f"numbers-{ensemble}",
                "messages": [{"role": "user", "content": numbers}],
            }
            response = await api.http.post("/v1/chat/completions", json=body)
            statuses.append(response.status_code)
    assert statuses[settled:] == [200] * (16 - settled), statuses
