"""A run and its agents: `invoke_workflow <name>` and `invoke_agent <name>`, with their metrics.

A run outlives its connection: its span's parent is the request that started it, given
explicitly. A failed agent does not make its workflow an error.
"""

from opentelemetry.context import Context

from telemetry import semconv
from telemetry.context import RequestInfo
from telemetry.spans.model_call import ChatOperation
from telemetry.spans.operation import STOPPED_ON_PURPOSE, Attributes, Recorder, TimedSpan, error_of


class Workflow(TimedSpan):
    """One run: `invoke_workflow <name>`; its parent is the request that started it."""

    __slots__ = ("_first_output_seen", "_name", "span_id", "trace_id")

    def __init__(
        self, recorder: Recorder, name: str, attributes: Attributes, parent: RequestInfo | None
    ) -> None:
        own: Attributes = {
            semconv.OPERATION_NAME: semconv.OPERATION_WORKFLOW,
            semconv.WORKFLOW_NAME: name,
            **attributes,
        }
        context = parent.context if parent else Context()
        super().__init__(recorder, f"{semconv.OPERATION_WORKFLOW} {name}", context, own)
        self._name = name
        self._first_output_seen = False
        self.trace_id = format(self.span_context.trace_id, "032x")
        self.span_id = format(self.span_context.span_id, "016x")
        recorder.metrics.inflight_runs.inc()

    def start_agent(self, name: str, model: str) -> "AgentOperation":
        """Start asking one agent."""
        return AgentOperation(self._recorder, self._context, name, model)

    def record_first_output(self) -> None:
        """Note that the first piece of the answer is there; only the first call counts."""
        if self._first_output_seen or self._ended:
            return
        self._first_output_seen = True
        family = self._recorder.metrics.first_output
        self._observe(family.child(self._name), self._since_start())
        self._event(semconv.EVENT_FIRST_OUTPUT, {})

    def record_step_down(self, agent: str, reason: str) -> None:
        """Note that a lesser model or answer stands in for `agent`."""
        self._recorder.metrics.step_downs.child(agent, reason).inc()
        self._event(semconv.EVENT_STEP_DOWN, {semconv.AGENT: agent, semconv.REASON: reason})

    def record_straggler_cut(self, agent: str, reason: str) -> None:
        """Note that `agent` was cut off so that the rest could go on."""
        self._event(semconv.EVENT_STRAGGLER_CUT, {semconv.AGENT: agent, semconv.REASON: reason})

    def finish(
        self,
        outcome: str,
        *,
        error_type: str | None = None,
        message: str = "",
        input_tokens: int = 0,
        output_tokens: int = 0,
        cost_usd: float | None = None,
    ) -> None:
        """End the run; only the first call counts. `message` says why it failed.

        `outcome` is completed, cancelled, failed, or another that is an error only with
        an `error_type`.
        """
        if self._ended:
            return
        self._ended = True
        error = error_of(outcome, error_type)
        metrics = self._recorder.metrics
        metrics.inflight_runs.dec()
        metrics.runs.child(self._name, outcome).inc()
        self._observe(metrics.workflow_duration.child(self._name, error), self._since_start())
        ends: Attributes = {
            semconv.OUTCOME: outcome,
            semconv.INPUT_TOKENS: input_tokens,
            semconv.OUTPUT_TOKENS: output_tokens,
            semconv.COST_USD: cost_usd,
        }
        cancelled = outcome in STOPPED_ON_PURPOSE
        self._end(error=error, cancelled=cancelled, attributes=ends, message=message)


class AgentOperation(TimedSpan):
    """One agent of a run, all its attempts together: `invoke_agent <name>`."""

    __slots__ = ("_model", "_name")

    def __init__(self, recorder: Recorder, parent: Context, name: str, model: str) -> None:
        attributes: Attributes = {
            semconv.OPERATION_NAME: semconv.OPERATION_AGENT,
            semconv.AGENT_NAME: name,
            semconv.REQUEST_MODEL: model,
        }
        super().__init__(recorder, f"{semconv.OPERATION_AGENT} {name}", parent, attributes)
        self._name = name
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
    ) -> ChatOperation:
        """Start one call to a model; `attempt` counts from 1."""
        attributes: Attributes = {
            semconv.OPERATION_NAME: semconv.OPERATION_CHAT,
            semconv.PROVIDER_NAME: provider,
            semconv.REQUEST_MODEL: model,
            semconv.SERVER_ADDRESS: server_address,
            semconv.SERVER_PORT: server_port,
            semconv.REQUEST_STREAM: stream,
            semconv.ATTEMPT: attempt,
        }
        self._span.set_attribute(semconv.PROVIDER_NAME, provider)
        return ChatOperation(self._recorder, self._context, model, provider, attributes)

    def record_retry(self, reason: str, delay_s: float) -> None:
        """Note that the call is asked again after `delay_s` seconds."""
        self._recorder.metrics.retries.child(self._name, reason).inc()
        self._event(semconv.EVENT_RETRY, {semconv.REASON: reason, semconv.DELAY: delay_s})

    def hedge(self, reason: str) -> None:
        """Note that a second call races the first."""
        self._recorder.metrics.hedges.child(self._name, reason).inc()
        self._event(semconv.EVENT_HEDGE, {semconv.REASON: reason})

    def record_context_trim(self, dropped: int) -> None:
        """Note that the oldest `dropped` messages did not fit and were left out."""
        self._recorder.metrics.context_trims.child(self._name).inc()
        self._event(semconv.EVENT_CONTEXT_TRIMMED, {semconv.DROPPED_MESSAGES: dropped})

    def finish(
        self,
        outcome: str,
        *,
        error_type: str | None = None,
        message: str = "",
        cost_usd: float | None = None,
        first_token_s: float | None = None,
    ) -> None:
        """End the agent: answered, failed, skipped or cancelled; only the first call counts."""
        if self._ended:
            return
        self._ended = True
        duration_s = self._since_start()
        if first_token_s is not None:
            first_token_s = min(first_token_s, duration_s)  # the event loop's clock is coarser
        error = error_of(outcome, error_type)
        metrics = self._recorder.metrics
        metrics.agent_outcomes.child(self._name, outcome).inc()
        if cost_usd and cost_usd > 0:
            metrics.cost.child(self._name, self._model).inc(cost_usd)
        duration = metrics.agent_duration.child(self._name, self._model, error)
        self._observe(duration, duration_s)
        ends: Attributes = {
            semconv.OUTCOME: outcome,
            semconv.COST_USD: cost_usd,
            semconv.TIME_TO_FIRST_CHUNK: first_token_s,
        }
        cancelled = outcome in STOPPED_ON_PURPOSE
        self._end(error=error, cancelled=cancelled, attributes=ends, message=message)
