"""Metrics of model servers' endpoints: circuits, and calls that wait or are not sent."""

from typing import Literal

from telemetry.metrics.registry import Metrics

CircuitState = Literal["closed", "open", "half_open"]


class EndpointMetrics:
    """Records the changes of circuits, the waits for limits and the refused calls."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def record_circuit(
        self, provider: str, model: str, before: CircuitState, after: CircuitState
    ) -> None:
        """Record the change of a model's circuit; several endpoints may have the same model."""
        self._metrics.circuit_changes.child(provider, model, after).inc()
        was_open, is_open = before != "closed", after != "closed"
        self._metrics.open_circuits.child(provider, model).inc(is_open - was_open)

    def record_wait(self, provider: str, reason: str, wait_s: float) -> None:
        """Record that a call has waited for a limit."""
        self._metrics.limit_wait.child(provider, reason).observe(wait_s)

    def record_refusal(self, provider: str, model: str, reason: str) -> None:
        """Record that a call was not sent."""
        self._metrics.refused_calls.child(provider, model, reason).inc()
