"""A mock LLM server inside the test process that records its requests."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from service.mock_llm.server import serve_mock
from service.mock_llm.transport import MockLLM
from service.mock_llm.wire import Plan
from tests._support.patience import PATIENCE_S


@dataclass(frozen=True)
class Asked:
    """One request: the model's name without its options, the messages it was sent, and all."""

    model: str
    messages: Sequence[dict[str, Any]]
    request: dict[str, Any]

    @property
    def last(self) -> str:
        return str(self.messages[-1]["content"])

    @property
    def turns(self) -> list[tuple[str, str]]:
        """The conversation: role and text of each message but the system's."""
        return [(str(m["role"]), str(m["content"])) for m in self.messages if m["role"] != "system"]


class Recorder(MockLLM):
    """Models that remember. `url` ends in /v1.

    `silent` has names of models: the next call of each has no token for an hour.
    """

    def __init__(self) -> None:
        super().__init__()
        self.url = ""
        self.asked: list[Asked] = []
        self.silent: list[str] = []

    def respond(self, method: str, path: str, body: bytes) -> Plan:
        if path.endswith("/chat/completions"):
            request = json.loads(body)
            model = request["model"].partition("?")[0]
            self.asked.append(Asked(model, request["messages"], request))
            if model in self.silent:
                self.silent.remove(model)
                request["model"] += "&fault=pause&after=0&pause_ms=3600000"
                body = json.dumps(request).encode()
        return super().respond(method, path, body)

    def of(self, question: str, model: str | None = None) -> list[Asked]:
        """Return the requests in which `question` was asked, or combined answers to it."""
        return [
            asked
            for asked in list(self.asked)
            if question in asked.last and model in (None, asked.model)
        ]

    def times(self, question: str) -> dict[str, int]:
        """Return how often each model was asked `question`."""
        models = [asked.model for asked in self.of(question)]
        return {model: models.count(model) for model in models}


@contextlib.contextmanager
def recording() -> Iterator[Recorder]:
    """Serve from a thread until the block ends."""
    recorder, ready = Recorder(), threading.Event()
    loop = asyncio.new_event_loop()

    def announce(url: str) -> None:
        recorder.url = url
        ready.set()

    serving = loop.create_task(serve_mock("127.0.0.1", 0, recorder, ready=announce))

    def run() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            loop.run_until_complete(serving)
        loop.run_until_complete(asyncio.sleep(0))  # aborted connections are closed by now
        loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        assert ready.wait(PATIENCE_S)
        yield recorder
    finally:
        loop.call_soon_threadsafe(serving.cancel)
        thread.join()
