"""Spans and metrics of an agent in a run: `invoke_agent <name>`."""

from opentelemetry.context import Context

from telemetry import semconv
from telemetry.spans.model_call import ChatOperation
from telemetry.spans.operation import (
    STOPPED_ON_PURPOSE,
    Attributes,
    Recorder,
    TimedSpan,
    resolve_error_type,
)


def label_agent(name: str) -> str:
    """Return the label of an agent's series: its configured name, also for its numbered copies."""
    return name.partition("#")[0]


class AgentOperation(TimedSpan):
    """The span `invoke_agent <name>` of one agent, including all its attempts."""

    __slots__ = ("_model", "_name")

    def __init__(self, recorder: Recorder, parent: Context, name: str, model: str) -> None:
        attributes: Attributes = {
            semconv.OPERATION_NAME: semconv.OPERATION_AGENT,
            semconv.AGENT_NAME: name,
            semconv.REQUEST_MODEL: model,
        }
        super().__init__(recorder, f"{semconv.OPERATION_AGENT} {name}", parent, attributes)
        self._name = label_agent(name)
        self._model = model

    def start_chat(
        self,
        *,
        model: str,
        provider: str,
        server_address: str,
        server_port: int,
        stream: bool,
        attempt: int,
        is_hedge: bool = False,
    ) -> ChatOperation:
        """Start one call to a model; `attempt` counts from 1, and a hedge has that of its call."""
        attributes: Attributes = {
            semconv.OPERATION_NAME: semconv.OPERATION_CHAT,
            semconv.PROVIDER_NAME: provider,
            semconv.REQUEST_MODEL: model,
            semconv.SERVER_ADDRESS: server_address,
            semconv.SERVER_PORT: server_port,
            semconv.REQUEST_STREAM: stream,
            semconv.ATTEMPT: attempt,
            semconv.HEDGE: is_hedge or None,
        }
        self._span.set_attribute(semconv.PROVIDER_NAME, provider)
        return ChatOperation(self._recorder, self._context, model, provider, attributes)

    def record_retry(self, reason: str, delay_s: float) -> None:
        """Record that the call is retried after `delay_s` seconds."""
        self._recorder.metrics.retries.child(self._name, reason).inc()
        self._add_event(semconv.EVENT_RETRY, {semconv.REASON: reason, semconv.DELAY: delay_s})

    def record_hedge(self, waited_s: float) -> None:
        """Record that the request was sent a second time, `waited_s` seconds after the first."""
        late: Attributes = {semconv.REASON: "first_token", semconv.DELAY: waited_s}
        self._add_event(semconv.EVENT_HEDGE, late)

    def record_hedge_refused(self, waited_s: float) -> None:
        """Record that a request without a token for `waited_s` seconds could not be hedged."""
        self._recorder.metrics.refused_hedges.child(self._name).inc()
        refused: Attributes = {semconv.REASON: "limit", semconv.DELAY: waited_s}
        self._add_event(semconv.EVENT_HEDGE_REFUSED, refused)

    def record_hedge_outcome(self, outcome: str) -> None:
        """Record how a hedge ended: won, lost, failed or cancelled."""
        self._recorder.metrics.hedges.child(self._name, outcome).inc()
        self._add_event(semconv.EVENT_HEDGE_ENDED, {semconv.REASON: outcome})

    def record_refused_call(self, provider: str, reason: str) -> None:
        """Record that a call was not sent, because of its circuit or a limit of its endpoint."""
        self._span.set_attribute(semconv.PROVIDER_NAME, provider)
        self._add_event(semconv.EVENT_CALL_REFUSED, {semconv.REASON: reason})

    def record_limit_wait(self, reason: str, wait_s: float) -> None:
        """Record that a call has waited for a limit of its endpoint."""
        self._add_event(
            semconv.EVENT_LIMIT_WAIT, {semconv.REASON: reason, semconv.DELAY: round(wait_s, 3)}
        )

    def record_continuation(self, reason: str, position: int) -> None:
        """Record that an answer broke off after `position` characters and is continued."""
        self._recorder.metrics.continuations.child(label_agent(self._name), reason).inc()
        seam: Attributes = {semconv.REASON: reason, semconv.POSITION: position}
        self._add_event(semconv.EVENT_CONTINUED, seam)

    def record_context_trim(self, dropped: int) -> None:
        """Record that the oldest `dropped` messages did not fit the context window."""
        self._recorder.metrics.context_trims.child(self._name).inc()
        self._add_event(semconv.EVENT_CONTEXT_TRIMMED, {semconv.DROPPED_MESSAGES: dropped})

    def finish(
        self,
        outcome: str,
        *,
        error_type: str | None = None,
        message: str = "",
        cost_usd: float | None = None,
        first_token_s: float | None = None,
    ) -> None:
        """End the agent: answered, failed, skipped or cancelled; later calls do nothing."""
        if self._ended:
            return
        self._ended = True
        duration_s = self._elapsed_s()
        if first_token_s is not None:
            first_token_s = min(first_token_s, duration_s)  # from a coarser clock
        error = resolve_error_type(outcome, error_type)
        metrics = self._recorder.metrics
        metrics.agent_outcomes.child(self._name, outcome).inc()
        if cost_usd and cost_usd > 0:
            metrics.cost.child(self._name, self._model).inc(cost_usd)
        duration = metrics.agent_duration.child(self._name, self._model, error)
        self._observe(duration, duration_s)
        final: Attributes = {
            semconv.OUTCOME: outcome,
            semconv.COST_USD: cost_usd,
            semconv.TIME_TO_FIRST_CHUNK: first_token_s,
        }
        cancelled = outcome in STOPPED_ON_PURPOSE
        self._end(error=error, cancelled=cancelled, attributes=final, message=message)
