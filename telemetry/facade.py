"""`Telemetry`: the one object the service holds, made of a tracer and the instruments."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import httpx
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import SpanContext

from telemetry import semconv
from telemetry.context import RequestInfo, current_request
from telemetry.http import upstream
from telemetry.http.middleware import ASGIApp, Middleware
from telemetry.metrics.labels import LabelSets
from telemetry.metrics.process import ProcessHealth
from telemetry.metrics.registry import Metrics
from telemetry.non_recording import NonRecordingTracer
from telemetry.setup import TelemetryConfig, Tracing, end_within, resource_of
from telemetry.spans import store
from telemetry.spans.operation import Recorder, TimedSpan
from telemetry.spans.run import Workflow
from telemetry.spans.store import (
    JournalMetrics,
    RecoveryOutcome,
    StoreOperation,
    StoreOperationName,
    System,
)

if TYPE_CHECKING:
    from telemetry.otlp.logs import LogExport


class Telemetry:
    """Spans, metrics and the middleware of one process.

    Raises TelemetryError when a standard OTEL_* variable asks for what there is not.
    """

    def __init__(self, config: TelemetryConfig) -> None:
        self._config = config
        self.metrics = Metrics(LabelSets())
        resource = resource_of(config)
        self._tracing = Tracing(config, resource, self.metrics)
        self._logs = _log_export(resource, self.metrics) if config.otlp_logs_enabled else None
        parts = (self._tracing, self._logs)
        self._outlets = [each.outlet for each in parts if each and each.outlet]
        store.expect(self.metrics)
        self.journal = JournalMetrics(self.metrics)
        shows = [self.journal.show, *(outlet.show for outlet in self._outlets)]
        self.health = ProcessHealth(self.metrics, shows)
        self._recorder = Recorder(
            self._tracing.tracer,
            self.metrics,
            is_exporting=self._tracing.is_exporting,
            captures_content=config.captures_content,
        )
        self._untraced = replace(self._recorder, tracer=NonRecordingTracer())
        self._ended = False
        self.set_labels(
            workflows=config.workflows,
            agents=config.agents,
            models=config.models,
            providers=config.providers,
        )

    def set_labels(
        self,
        *,
        workflows: Collection[str] | None = None,
        agents: Collection[str] | None = None,
        models: Iterable[str] | None = None,
        providers: Iterable[str] | None = None,
    ) -> None:
        """Replace the closed label sets that are given, as when the configuration is reread."""
        self.metrics.labels.replace(
            workflows=workflows, agents=agents, models=models, providers=providers
        )
        self.metrics.expect(workflows or (), agents or ())

    def middleware(self, app: ASGIApp) -> ASGIApp:
        """Return `app` with request ids, server spans, HTTP metrics and access lines."""
        return Middleware(app, self._recorder, trust_traceparent=self._config.trust_traceparent)

    def instrument(self, client: httpx.AsyncClient) -> None:
        """Trace the client's requests; nothing at all when nothing is exported."""
        provider = self._tracing.provider
        if provider is not None:
            upstream.instrument(client, provider, self._config.traceparent_hosts)

    def start_workflow(
        self,
        name: str,
        *,
        run_id: str,
        conversation_id: str,
        config_hash: str,
        agents: Sequence[str],
        parent: RequestInfo | None,
    ) -> Workflow:
        """Start a run's span, below the request that asked for it; None starts a new trace."""
        if parent is not None:
            parent.run_id = run_id
            parent.conversation_id = conversation_id
        attributes = {
            semconv.RUN_ID: run_id,
            semconv.CONVERSATION_ID: conversation_id,
            semconv.CONFIG_HASH: config_hash,
            semconv.AGENTS: list(agents),
        }
        return Workflow(self._recorder, name, attributes, parent)

    def start_store_operation(
        self,
        name: StoreOperationName,
        *,
        system: System,
        parent: TimedSpan | RequestInfo | None = None,
    ) -> StoreOperation:
        """Start an operation of the store, below `parent`, else below the current request.

        Outside of a request it is measured and has no span: a journal's commit is of many runs.
        """
        parent = parent or current_request()
        if parent is None:
            return StoreOperation(self._untraced, name, system, Context())
        return StoreOperation(self._recorder, name, system, parent.context)

    def record_store_rejection(self, reason: str) -> None:
        """Count a request refused for want of the store; `reason` is of `UnavailableReason`."""
        self.metrics.store_rejections.child(reason).inc()

    def record_recovery(self, outcome: RecoveryOutcome) -> None:
        """Count a run that was found unfinished and given an end."""
        self.metrics.recoveries.child(outcome).inc()

    def render_metrics(self, accept: str) -> tuple[bytes, str]:
        """Return the /metrics body and content type for an Accept header.

        With several workers it reads all their files: call it in a thread.
        """
        self.health.sample()
        return self.metrics.page(accept)

    def record_stream_opened(self) -> None:
        """Count an event stream that opened to a client."""
        self.metrics.open_streams.inc()

    def record_stream_closed(self, disconnected: bool) -> None:
        """Count an event stream that closed; `disconnected` when the client left first."""
        self.metrics.open_streams.dec()
        if disconnected:
            self.metrics.disconnects.inc()

    def record_resume(self, trace_id: str, span_id: str) -> None:
        """Count a stream that re-attached, and link the current request's span to the run's.

        The ids are hexadecimal, and empty where they are not known any more.
        """
        self.metrics.resumes.inc()
        request = current_request()
        run = SpanContext(int(trace_id or "0", 16), int(span_id or "0", 16), is_remote=True)
        if request is not None and run.is_valid:
            request.span.add_link(run)

    def shutdown(self, timeout_s: float = 3.0) -> None:
        """Send what is queued, for at most `timeout_s`; later calls do nothing."""
        if self._ended:
            return
        self._ended = True
        ends = [each.shutdown for each in (self._tracing.provider, self._logs) if each]
        end_within(timeout_s, *ends)
        for outlet in self._outlets:
            outlet.close()


def _log_export(resource: Resource, metrics: Metrics) -> "LogExport":
    # Here, not above: 60 ms of imports that few need.
    from telemetry.otlp.logs import LogExport

    return LogExport(resource, metrics)
