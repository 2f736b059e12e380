"""Spans and metrics of a run: `invoke_workflow <name>`.

A run may last longer than its connection, so its span's parent is passed explicitly: the request
that started the run. A failed agent does not make its workflow an error.
"""

from collections.abc import Sequence

from opentelemetry.context import Context

from telemetry import semconv
from telemetry.context import RequestInfo
from telemetry.spans.agent import AgentOperation, label_agent
from telemetry.spans.operation import (
    STOPPED_ON_PURPOSE,
    Attributes,
    Recorder,
    TimedSpan,
    resolve_error_type,
)


class Workflow(TimedSpan):
    """The span `invoke_workflow <name>` of one run, below the request that started it."""

    __slots__ = ("_first_output_seen", "_name", "_step", "span_id", "trace_id")

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
        self._step: StepOperation | None = None
        self.trace_id = format(self.span_context.trace_id, "032x")
        self.span_id = format(self.span_context.span_id, "016x")
        recorder.metrics.inflight_runs.inc()

    def start_agent(self, name: str, model: str) -> AgentOperation:
        """Start the operation of one agent, below the current step if there is one."""
        parent = self._step.context if self._step else self._context
        return AgentOperation(self._recorder, parent, name, model)

    def start_step(self, name: str) -> None:
        """Start a step of the strategy; agents start below it until `end_step`."""
        self.end_step()
        self._step = StepOperation(self._recorder, self._context, name)

    def end_step(self) -> None:
        """End the current step, if there is one."""
        if self._step:
            self._step.finish()
            self._step = None

    def record_first_output(self) -> None:
        """Record that the run produced its first output; later calls do nothing."""
        if self._first_output_seen or self._ended:
            return
        self._first_output_seen = True
        family = self._recorder.metrics.first_output
        self._observe(family.child(self._name), self._elapsed_s())
        self._add_event(semconv.EVENT_FIRST_OUTPUT, {})

    def record_step_down(self, agent: str, reason: str) -> None:
        """Record that a weaker model or answer replaces `agent`."""
        self._recorder.metrics.step_downs.child(label_agent(agent), reason).inc()
        self._add_event(semconv.EVENT_STEP_DOWN, {semconv.AGENT: agent, semconv.REASON: reason})

    def record_gate(self, decision: str, agreement: float) -> None:
        """Record how the gate of `auto` decided: single, vote or combine."""
        self._recorder.metrics.gate_outcomes.child(self._name, decision).inc()
        gate: Attributes = {semconv.REASON: decision, semconv.AGREEMENT: agreement}
        self._add_event(semconv.EVENT_GATE, gate)

    def record_straggler_cut(self, agent: str, reason: str, phase: str) -> None:
        """Record that the slow `agent` was cut off; `phase` names the limit that it exceeded."""
        self._recorder.metrics.straggler_cuts.child(label_agent(agent), phase).inc()
        cut: Attributes = {semconv.AGENT: agent, semconv.REASON: reason, semconv.PHASE: phase}
        self._add_event(semconv.EVENT_STRAGGLER_CUT, cut)

    def record_budget_refusal(self, agent: str) -> None:
        """Record that a call of `agent` was not sent: it could exceed a budget."""
        self._recorder.metrics.reservations.child("call_refused").inc()
        refusal: Attributes = {semconv.AGENT: agent, semconv.REASON: "budget_exceeded"}
        self._add_event(semconv.EVENT_BUDGET_REFUSED, refusal)

    def finish(
        self,
        outcome: str,
        *,
        error_type: str | None = None,
        message: str = "",
        input_tokens: int = 0,
        output_tokens: int = 0,
        cost_usd: float | None = None,
        degraded_by: Sequence[str] = (),
        missing: Sequence[str] = (),
    ) -> None:
        """End the run; later calls do nothing. `message` states the reason of a failure.

        `outcome` is completed, cancelled or failed; any other is an error only with an
        `error_type`.
        """
        if self._ended:
            return
        self._ended = True
        self.end_step()
        error = resolve_error_type(outcome, error_type)
        metrics = self._recorder.metrics
        metrics.inflight_runs.dec()
        metrics.runs.child(self._name, outcome).inc()
        for reason in degraded_by:
            metrics.degraded_runs.child(self._name, reason).inc()
        self._observe(metrics.workflow_duration.child(self._name, error), self._elapsed_s())
        final: Attributes = {
            semconv.OUTCOME: outcome,
            semconv.INPUT_TOKENS: input_tokens,
            semconv.OUTPUT_TOKENS: output_tokens,
            semconv.COST_USD: cost_usd,
            semconv.DEGRADED_BY: degraded_by or None,
            semconv.MISSING_AGENTS: missing or None,
        }
        cancelled = outcome in STOPPED_ON_PURPOSE
        self._end(error=error, cancelled=cancelled, attributes=final, message=message)


class StepOperation(TimedSpan):
    """The span `step <name>` of one step of a strategy, such as `judge` or `layer 2`."""

    __slots__ = ()

    def __init__(self, recorder: Recorder, parent: Context, name: str) -> None:
        super().__init__(recorder, f"step {name}", parent, {semconv.STEP: name})

    def finish(self) -> None:
        """End the step; later calls do nothing."""
        if not self._ended:
            self._ended = True
            self._end(error="", cancelled=False, attributes={})
