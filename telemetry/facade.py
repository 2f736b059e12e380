"""`Telemetry`, the object through which the service records spans and metrics."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import httpx
from opentelemetry.context import Context
from opentelemetry.trace import SpanContext

from telemetry import semconv
from telemetry.context import RequestInfo, current_request
from telemetry.http.middleware import ASGIApp, Middleware
from telemetry.metrics.endpoints import EndpointMetrics
from telemetry.metrics.labels import LabelSets
from telemetry.metrics.process import ProcessHealth
from telemetry.metrics.registry import Metrics
from telemetry.non_recording import NonRecordingTracer
from telemetry.setup import TelemetryConfig, Tracing, create_resource, shut_down_within
from telemetry.spans import store
from telemetry.spans.operation import Recorder, TimedSpan
from telemetry.spans.run import Workflow
from telemetry.spans.store import (
    JournalMetrics,
    RecoveryOutcome,
    ReservationOutcome,
    StoreOperation,
    StoreOperationName,
    System,
)

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource

    from telemetry.otlp.logs import LogExport


class Telemetry:
    """Spans, metrics and the middleware of one process.

    Raises TelemetryError for an invalid OTEL_* variable.
    """

    def __init__(self, config: TelemetryConfig) -> None:
        self._config = config
        self.metrics = Metrics(LabelSets())
        resource = cache(lambda: create_resource(config))
        self._tracing = Tracing(config, resource, self.metrics)
        with_logs = config.otlp_logs_enabled
        self._logs = _create_log_export(resource(), self.metrics) if with_logs else None
        exports = (self._tracing, self._logs)
        self._queues = [each.queue for each in exports if each and each.queue]
        store.initialize_series(self.metrics)
        self.journal = JournalMetrics(self.metrics)
        self.endpoints = EndpointMetrics(self.metrics)
        callbacks = [self.journal.update_gauges, *(each.update_gauge for each in self._queues)]
        self.health = ProcessHealth(self.metrics, callbacks)
        self._recorder = Recorder(
            self._tracing.tracer,
            self.metrics,
            is_exporting=self._tracing.is_exporting,
            captures_content=config.captures_content,
        )
        self._untraced_recorder = replace(self._recorder, tracer=NonRecordingTracer())
        self._is_shut_down = False
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
        rules: Iterable[str] | None = None,
    ) -> None:
        """Replace the given label sets, after the configuration was read again."""
        self.metrics.labels.replace(
            workflows=workflows, agents=agents, models=models, providers=providers, rules=rules
        )
        self.metrics.initialize_series(workflows or (), agents or ())

    def middleware(self, app: ASGIApp) -> ASGIApp:
        """Return `app` with request ids, server spans, HTTP metrics and access lines."""
        return Middleware(app, self._recorder, trust_traceparent=self._config.trust_traceparent)

    def trace_requests(self, transport: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
        """Return a transport that traces its requests; `transport` itself if none is exported."""
        tracing = self._tracing
        if tracing.provider is None:
            return transport
        # Imported here: 70 ms of imports, needed only for spans.
        from telemetry.http import upstream

        hosts = self._config.traceparent_hosts
        return upstream.trace_requests(transport, tracing.provider, tracing.tracer, hosts)

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
        """Start a run's span below the request that started it; None starts a new trace."""
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
        """Start a store operation below `parent`, or below the current request.

        Without both it is measured but has no span: a commit of the journal serves many runs.
        """
        parent = parent or current_request()
        if parent is None:
            return StoreOperation(self._untraced_recorder, name, system, Context())
        return StoreOperation(self._recorder, name, system, parent.context)

    def record_store_rejection(self, reason: str) -> None:
        """Count a request rejected because the store is unavailable, by `UnavailableReason`."""
        self.metrics.store_rejections.child(reason).inc()

    def record_limit(self, kind: str, rule: str, *, is_refused: bool) -> None:
        """Count a request that a limit of a rule accepted or refused."""
        outcome = "refused" if is_refused else "accepted"
        self.metrics.limit_requests.child(kind, rule, outcome).inc()

    def record_feedback(self, subject: str, kinds: Iterable[str]) -> None:
        """Count a rating of an answer or an agent, once for each kind of opinion in it."""
        for kind in kinds:
            self.metrics.feedback.child(subject, kind).inc()

    def record_limit_fallback(self) -> None:
        """Count a request that was limited without Redis, which was unavailable."""
        self.metrics.limit_fallbacks.inc()

    def record_recovery(self, outcome: RecoveryOutcome) -> None:
        """Count an unfinished run that recovery ended."""
        self.metrics.recoveries.child(outcome).inc()

    def record_reservation(self, outcome: ReservationOutcome) -> None:
        """Count a run that has reserved from budgets, was refused or settled."""
        self.metrics.reservations.child(outcome).inc()

    def render_metrics(self, accept: str) -> tuple[bytes, str]:
        """Return the /metrics body and content type for an Accept header.

        With several workers it reads all their files, so call it in a thread.
        """
        self.health.sample()
        return self.metrics.render(accept)

    def record_stream_opened(self) -> None:
        """Count an event stream opened by a client."""
        self.metrics.open_streams.inc()

    def record_stream_closed(self, disconnected: bool) -> None:
        """Count a closed event stream; `disconnected` if the client left before its end."""
        self.metrics.open_streams.dec()
        if disconnected:
            self.metrics.disconnects.inc()

    def record_resume(self, trace_id: str, span_id: str) -> None:
        """Count a stream that reconnected to a run, and link the request's span to the run's.

        The ids are hexadecimal, and empty if they are no longer known.
        """
        self.metrics.resumes.inc()
        request = current_request()
        run = SpanContext(int(trace_id or "0", 16), int(span_id or "0", 16), is_remote=True)
        if request is not None and run.is_valid:
            request.span.add_link(run)

    def shutdown(self, timeout_s: float = 3.0) -> None:
        """Export the queued items within `timeout_s`; later calls do nothing."""
        if self._is_shut_down:
            return
        self._is_shut_down = True
        shutdowns = [each.shutdown for each in (self._tracing.provider, self._logs) if each]
        shut_down_within(timeout_s, *shutdowns)
        for queue in self._queues:
            queue.close()


def _create_log_export(resource: "Resource", metrics: Metrics) -> "LogExport":
    # Imported here: 60 ms of imports, needed only for this export.
    from telemetry.otlp.logs import LogExport

    return LogExport(resource, metrics)
