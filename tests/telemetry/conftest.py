"""A telemetry that keeps its spans in memory, and an ASGI connection without a server."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from telemetry import Telemetry, TelemetryConfig, Workflow
from telemetry.http.middleware import ASGIApp


def config(**changes: Any) -> TelemetryConfig:
    known: dict[str, Any] = {
        "workflows": frozenset({"fanout"}),
        "agents": frozenset({"llm-1", "llm-2", "llm-combine"}),
        "models": frozenset({"gpt-4o-mini"}),
    }
    return TelemetryConfig(**{**known, **changes})


@dataclass
class Capture:
    """A telemetry and what it has exported."""

    telemetry: Telemetry
    exporter: InMemorySpanExporter

    @property
    def spans(self) -> list[ReadableSpan]:
        return list(self.exporter.get_finished_spans())

    def span(self, name: str) -> ReadableSpan:
        (found,) = [span for span in self.spans if span.name == name]
        return found

    def parent_name(self, span: ReadableSpan) -> str | None:
        by_id = {each.context.span_id: each.name for each in self.spans if each.context}
        return by_id[span.parent.span_id] if span.parent else None

    def page(self, accept: str = "") -> str:
        return self.telemetry.render_metrics(accept)[0].decode()


def start(telemetry: Telemetry, name: str = "fanout") -> Workflow:
    return telemetry.start_workflow(
        name,
        run_id="run_1",
        conversation_id="conv_1",
        config_hash="abc",
        agents=["llm-1", "llm-2"],
        parent=None,
    )


def capturing(**changes: Any) -> Capture:
    exporter = InMemorySpanExporter()
    return Capture(Telemetry(config(span_exporter=exporter, **changes)), exporter)


@pytest.fixture
def capture() -> Capture:
    return capturing()


@pytest.fixture
def quiet() -> Iterator[Telemetry]:
    """A telemetry that exports nothing."""
    telemetry = Telemetry(config())
    yield telemetry
    telemetry.shutdown()


@dataclass
class Wire:
    """One ASGI connection: what the server would put in, what it got out."""

    sent: list[dict[str, Any]] = field(default_factory=list)
    inbox: "asyncio.Queue[dict[str, Any]]" = field(default_factory=asyncio.Queue)

    async def send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)

    @property
    def headers(self) -> dict[str, str]:
        opening = next(message for message in self.sent if "headers" in message)
        return {name.decode().lower(): value.decode() for name, value in opening["headers"]}

    @property
    def status(self) -> int:
        status = self.sent[0]["status"]
        assert isinstance(status, int)
        return status


async def call(app: ASGIApp, path: str = "/x", method: str = "GET", **headers: str) -> Wire:
    """Send one request through `app`; header names are written with underscores."""
    wire = Wire()
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "scheme": "http",
        "http_version": "1.1",
        "headers": [
            (name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()
        ],
    }
    await app(scope, wire.inbox.get, wire.send)
    return wire
