"""Admission of calls to model servers: a circuit breaker for each model, limits for each endpoint.

Everything is in memory, and each process has its own.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import NamedTuple, Protocol

from service.base_url import host_of, normalize_endpoint
from service.domain import Usage
from service.ensembles.catalog import Catalog
from service.ensembles.endpoints import EndpointLimits
from service.errors import CircuitOpen, EndpointLimited
from service.llm.endpoints.admission import AdmittedCall
from service.llm.endpoints.breaker import (
    FAILURES_TO_OPEN,
    OPEN_S,
    PROBE_WAIT_S,
    CircuitBreaker,
    CircuitState,
)
from service.llm.endpoints.turns import LimitReason, Turn, TurnQueue, TurnRefused
from service.llm.protocol import Call

_log = logging.getLogger(__name__)

_MOST_MODELS = 1_024
_REASONS: Mapping[LimitReason, str] = {
    "rpm": "the requests per minute of its endpoint (rpm) are used up",
    "tpm": "the tokens per minute of its endpoint (tpm) are used up",
    "parallel": "its endpoint has as many calls as it may have at the same time (parallel)",
    "paused": "its server has refused calls because of its own limits",
}


class EndpointObserver(Protocol):
    """Receives what happens at endpoints, for metrics."""

    def record_circuit(
        self, provider: str, model: str, before: CircuitState, after: CircuitState
    ) -> None:
        """Record the change of a circuit."""

    def record_wait(self, provider: str, reason: LimitReason, wait_s: float) -> None:
        """Record that a call has waited for a limit."""

    def record_refusal(self, provider: str, model: str, reason: str) -> None:
        """Record that a call was not sent."""


class OpenCircuit(NamedTuple):
    """A model that is not called at present; `wait_s` until the next attempt."""

    model: str
    host: str
    wait_s: float


class Endpoints:
    """Admits calls to models. `processes` share the limits of each endpoint equally."""

    def __init__(self, observer: EndpointObserver | None = None, processes: int = 1) -> None:
        self._observer = observer
        self._processes = processes
        self._breakers: OrderedDict[tuple[str, str], CircuitBreaker] = OrderedDict()
        self._queues: dict[str, TurnQueue] = {}
        self._unguarded: frozenset[str] = frozenset()

    def configure(self, catalog: Catalog) -> None:
        """Use the limits of a catalog; what is known about its models and endpoints remains."""
        for endpoint, configured in catalog.limits.items():
            limits = configured.share_between(self._processes)
            if queue := self._queues.get(endpoint):
                queue.change_limits(limits)
            else:
                self._queues[endpoint] = TurnQueue(limits)
        for endpoint in self._queues.keys() - catalog.limits.keys():
            self._queues.pop(endpoint).change_limits(EndpointLimits())
        known = {
            (_endpoint(target.base_url), model)
            for agent in catalog.agents.values()
            for target in (agent, agent.hedge_target or agent)
            for model in (target.model, *target.fallbacks)
            if _endpoint(target.base_url) not in catalog.unguarded
        }
        self._unguarded = catalog.unguarded
        for key in self._breakers.keys() - known:
            self._breakers.pop(key).close()

    def admits(self, base_url: str, model: str) -> bool:
        """Return whether the circuit of a model would admit a call now."""
        breaker = self._breakers.get((_endpoint(base_url), model))
        return breaker is None or breaker.admits

    def list_open(self) -> Sequence[OpenCircuit]:
        """Return the models that are not called at present, or only for a probe."""
        now_open = []
        for (endpoint, model), breaker in self._breakers.items():
            breaker.forget()
            if breaker.state != "closed":
                now_open.append(OpenCircuit(model, host_of(endpoint), breaker.wait_s))
        return now_open

    def find_open(self, base_url: str, model: str) -> OpenCircuit | None:
        """Return the circuit of a model if it is not called at present, or only for a probe."""
        breaker = self._breakers.get((_endpoint(base_url), model))
        if breaker is None:
            return None
        breaker.forget()
        if breaker.state == "closed":
            return None
        return OpenCircuit(model, host_of(base_url), breaker.wait_s)

    async def admit(self, call: Call) -> AdmittedCall:
        """Wait for the limits of the call's endpoint, at most its own time.

        The call of the result has the time that is left. Raises CircuitOpen and EndpointLimited.
        """
        breaker = self._find_breaker(call)
        self._check_circuit(breaker, call)
        queue = self._queues.get(_endpoint(call.base_url))
        turn = await self._take_turn(queue, call) if queue else None
        passage = breaker.enter()  # not before the wait, in which it may have opened
        if passage is None:
            if turn:
                turn.end(0)
            raise self._refuse_circuit(breaker, call)
        if turn and turn.waited_s:
            call = replace(call, timeout_s=max(0.0, call.timeout_s - turn.waited_s))
        return AdmittedCall(call, passage, queue, turn)

    def _find_breaker(self, call: Call) -> CircuitBreaker:
        key = (_endpoint(call.base_url), call.model)
        clock = asyncio.get_running_loop().time
        if key[0] in self._unguarded:
            return CircuitBreaker(clock)
        breaker = self._breakers.get(key)
        if breaker is None:
            breaker = CircuitBreaker(
                clock, partial(self._report_circuit, call.provider, call.model)
            )
            self._breakers[key] = breaker
        self._breakers.move_to_end(key)
        if len(self._breakers) > _MOST_MODELS:
            self._breakers.popitem(last=False)[1].close()
        return breaker

    async def _take_turn(self, queue: TurnQueue, call: Call) -> Turn:
        tokens = Usage.estimate(call.messages, "").input_tokens + call.max_tokens
        try:
            wait_s = 0.0 if call.is_hedge else call.timeout_s  # another call waits already
            turn = await queue.enter(call.model, tokens, wait_s)
        except TurnRefused as refusal:
            raise self._refuse_turn(refusal, call) from None
        if turn.reason and self._observer:
            self._observer.record_wait(call.provider, turn.reason, turn.waited_s)
        return turn

    def _check_circuit(self, breaker: CircuitBreaker, call: Call) -> None:
        if not breaker.admits:
            raise self._refuse_circuit(breaker, call)

    def _refuse_circuit(self, breaker: CircuitBreaker, call: Call) -> CircuitOpen:
        wait_s = breaker.wait_s
        self._report_refusal(call, CircuitOpen.code)
        return CircuitOpen(
            f"{call.model} is not called for another {max(1, math.ceil(wait_s))} s: its server has "
            f"failed {FAILURES_TO_OPEN} times in a row.",
            retry_after_s=max(PROBE_WAIT_S, wait_s),
        )

    def _refuse_turn(self, refusal: TurnRefused, call: Call) -> EndpointLimited:
        self._report_refusal(call, refusal.reason)
        seconds = max(1, math.ceil(refusal.after_s))
        error = EndpointLimited(
            f"{call.model} is not called: {_REASONS[refusal.reason]}. Try again in {seconds} s.",
            retry_after_s=refusal.after_s,
        )
        error.is_shared = refusal.reason != "paused"
        return error

    def _report_circuit(
        self, provider: str, model: str, before: CircuitState, after: CircuitState
    ) -> None:
        if after == "open":
            _log.warning("%s is not called for %g s: its server fails", model, OPEN_S)
        elif after == "closed":
            _log.info("%s is called again", model)
        if self._observer:
            self._observer.record_circuit(provider, model, before, after)

    def _report_refusal(self, call: Call, reason: str) -> None:
        if self._observer:
            self._observer.record_refusal(call.provider, call.model, reason)


@lru_cache(maxsize=_MOST_MODELS)
def _endpoint(base_url: str) -> str:
    return normalize_endpoint(base_url)
