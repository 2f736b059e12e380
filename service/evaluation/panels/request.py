"""A run that an evaluation needs, and the hash of everything that it sends to models."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import msgspec

from service.domain import AgentReport, Message
from service.ensembles.agents import Agent
from service.ensembles.catalog import Ensemble
from service.version import VERSION

# Fields of an agent that are not sent, or have no effect on a complete answer.
_UNSENT_BY_AGENT = frozenset(
    {
        "name", "config_hash", "key_env", "key_header", "provider", "hedge", "hedge_target",
        "retries", "first_token_timeout_s", "idle_timeout_s", "timeout_s", "continues_by",
    }
)  # fmt: skip
_UNSENT_BY_ENSEMBLE = frozenset({"name", "config_hash", "timeout_s", "max_cost_usd", "agents"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRequest:
    """Messages for an ensemble, with the answers of agents that it does not call.

    `name` is that of the contestant or the judge, `question_id` that of the question.
    """

    name: str
    question_id: str
    messages: tuple[Message, ...]
    ensemble: Ensemble
    reused: Mapping[str, AgentReport] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """The SHA-256 of everything that is sent to models, in hexadecimal digits.

        A strategy's own prompts have agents' names, and belong to a version of the service.
        """
        content: dict[str, Any] = {
            "messages": [(each.role, each.content) for each in self.messages],
            "ensemble": _describe_ensemble(self.ensemble),
        }
        if self.ensemble.strategy != "solo":
            content["reused"] = [(name, each.text) for name, each in self.reused.items()]
            content["names"] = [each.name for each in self.ensemble.all_agents]
            content["version"] = VERSION
        encoded = msgspec.json.encode(content, order="deterministic")
        return hashlib.sha256(encoded).hexdigest()


def _describe_ensemble(ensemble: Ensemble) -> Mapping[str, Any]:
    values = {
        each.name: getattr(ensemble, each.name)
        for each in fields(ensemble)
        if each.name not in _UNSENT_BY_ENSEMBLE
    }
    layers = [[_describe_agent(agent) for agent in layer] for layer in ensemble.layers]
    roles = {
        name: _describe_agent(value) for name, value in values.items() if isinstance(value, Agent)
    }
    return {**values, "layers": layers, **roles}


def _describe_agent(agent: Agent) -> Mapping[str, Any]:
    return {
        each.name: getattr(agent, each.name)
        for each in fields(agent)
        if each.name not in _UNSENT_BY_AGENT
    }
