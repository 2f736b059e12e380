"""The agents of `ensembles.toml`: whether they are called at present, and their usual pace."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from service.api.dependencies import ApiDependencies
from service.base_url import host_of
from service.ensembles.catalog import Agent
from service.llm.endpoints.endpoints import Endpoints
from service.store.call_history import PastCall

_MOST_CALLS: Final = 500


@dataclass(frozen=True, slots=True)
class ShownAgent:
    """An agent with the state of its model's circuit in words.

    The medians are those of its `answers` among the last answers of all agents, in milliseconds.
    """

    name: str
    model: str
    host: str
    state: str
    is_called: bool
    answers: int
    first_token_ms: float | None
    elapsed_ms: float | None


async def list_agents(api: ApiDependencies) -> list[ShownAgent]:
    """Return the agents, those first whose calls are refused. Raises StorageUnavailable."""
    calls = [each for each in await api.store.calls.list_recent(_MOST_CALLS) if not each.reused]
    agents = api.catalog().agents.values()
    shown = [row for agent in agents for row in _show_agent(agent, api.endpoints, calls)]
    return sorted(shown, key=lambda row: row.is_called)


def _show_agent(
    agent: Agent, endpoints: Endpoints, calls: Sequence[PastCall]
) -> Iterator[ShownAgent]:
    """Yield a row for the agent's model, and one for each model that replaces it."""
    for model in (agent.model, *agent.fallbacks):
        own = [
            call
            for call in calls
            if call.agent.partition("#")[0] == agent.name and call.model == model
        ]
        first = [call.first_token_ms for call in own if call.first_token_ms is not None]
        circuit = endpoints.find_open(agent.base_url, model)
        yield ShownAgent(
            name=agent.name,
            model=model,
            host=host_of(agent.base_url),
            state=_describe_circuit(circuit.wait_s if circuit else None),
            is_called=circuit is None,
            answers=len(own),
            first_token_ms=median(first) if first else None,
            elapsed_ms=median(call.elapsed_ms for call in own) if own else None,
        )


def _describe_circuit(wait_s: float | None) -> str:
    """Return the state of a circuit; `wait_s` is None for a closed one."""
    if wait_s is None:
        return "ready"
    if wait_s > 0:
        return f"not called for {math.ceil(wait_s)} s: its server has failed"
    return "the next call is a trial: its server has failed"
