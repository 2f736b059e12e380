"""A telemetry that collects its spans in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from telemetry import Telemetry, TelemetryConfig, Workflow


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
