"""The agents and ensembles of `ensembles.toml`: parses its text into a `Catalog`, without I/O.

An agent is a model with a prompt, a server address and time limits. An ensemble is a strategy
with its agents. Values that the file omits come from the settings (`AgentDefaults`).
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from pydantic import ValidationError

from service.base_url import host_of, is_local
from service.domain import CHARS_PER_TOKEN, Usage
from service.ensembles.agents import (
    Agent,
    AgentDefaults,
    build_agent,
    hash_configuration,
)
from service.ensembles.endpoints import (
    EndpointLimits,
    apply_endpoints,
    build_limits,
    find_unguarded,
)
from service.ensembles.faults import Fault, find_table_faults, format_faults, reword
from service.ensembles.members import ROLES, build_layers
from service.ensembles.prices import Price
from service.ensembles.tables import EnsemblesTable, EnsembleTable
from service.ensembles.toml_lines import load_tables, syntax_fault

__all__ = [
    "AGENT_PREFIX",
    "Agent",
    "AgentDefaults",
    "Catalog",
    "Check",
    "Ensemble",
    "EnsembleFault",
    "EnsemblesError",
    "parse_ensembles",
]

AGENT_PREFIX = "agent/"
# Default time limits of a run, in seconds: the second where an agent's model may have to be loaded.
_TIMEOUT_S = 180.0
_LOCAL_TIMEOUT_S = 900.0
_STRAGGLER_MAX_S = 10.0


class EnsembleFault(NamedTuple):
    """The reason why an ensemble cannot use its strategy, and the key that it is about."""

    why: str
    key: str = "strategy"


class EnsemblesError(Exception):
    """The file is invalid. Each line of the message has the form `file:line: key: reason`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ensemble:
    """A strategy and its agents.

    `agents` are those of all `layers`, of which only the strategy `layers` has more than one. After
    `min_answers` answers a run waits for the others for `straggler_grace_s`; with "auto" as long as
    each of them usually takes, and at most `straggler_max_s`; with "none" until each has ended.
    `continues` is how often an answer that broke off is continued. `seed` determines every choice
    by chance, such as the order in which a judge reads answers; None: the id of each run does.
    `config_hash` is a hash of the prompts and limits; each run stores that of the configuration it
    used.
    """

    name: str
    strategy: str
    agents: tuple[Agent, ...]
    layers: tuple[tuple[Agent, ...], ...]
    combiner: Agent | None
    judge: Agent | None
    chair: Agent | None
    analyse: bool | None
    provenance: bool
    tools_policy: str | None
    min_answers: int
    straggler_grace_s: float | Literal["auto", "none"]
    straggler_max_s: float
    timeout_s: float
    max_cost_usd: float | None
    continues: int
    config_hash: str
    seed: str | None = None

    @property
    def all_agents(self) -> tuple[Agent, ...]:
        """The agents, and after them the combiner, the judge and the chair."""
        roles = (self.combiner, self.judge, self.chair)
        return (*self.agents, *(each for each in roles if each))


@dataclass(frozen=True, slots=True)
class Catalog:
    """The contents of `ensembles.toml`. `prices` has model names as keys, `limits` addresses.

    `single_agents` has an ensemble `agent/<name>` for each agent.
    """

    default: str
    ensembles: Mapping[str, Ensemble]
    single_agents: Mapping[str, Ensemble]
    agents: Mapping[str, Agent]
    prices: Mapping[str, Price]
    limits: Mapping[str, EndpointLimits]
    unguarded: frozenset[str]  # endpoints without circuit breakers

    def find(self, name: str) -> Ensemble | None:
        """Return the ensemble, or the single agent, of this name; for "" the default ensemble."""
        return self.ensembles.get(name or self.default) or self.single_agents.get(name)

    @property
    def models(self) -> frozenset[str]:
        """The models of all agents, including their fallbacks."""
        return frozenset(
            model for agent in self.targets for model in (agent.model, *agent.fallbacks)
        )

    @property
    def targets(self) -> tuple[Agent, ...]:
        """All agents, and those with the addresses and keys of their hedges."""
        agents = self.agents.values()
        return (*agents, *(each.hedge_target for each in agents if each.hedge_target))


# Returns why an ensemble cannot use a strategy, None when it can.
Check = Callable[[Ensemble], EnsembleFault | None]


def parse_ensembles(
    text: str, *, source: str, defaults: AgentDefaults, checks: Mapping[str, Check]
) -> Catalog:
    """Parse TOML into a catalog. `checks` has a function for each strategy.

    Raises EnsemblesError with the line and the reason of each fault; `source` names the file.
    """
    try:
        file = EnsemblesTable.model_validate(load_tables(text))
    except tomllib.TOMLDecodeError as error:
        line, reason = syntax_fault(error, text)
        raise EnsemblesError(f"{source}:{line}: {reason}") from error
    except ValidationError as error:
        faults = [(tuple(fault["loc"]), reword(fault["msg"])) for fault in error.errors()]
        raise EnsemblesError(format_faults(faults, text, source)) from error
    agents = {name: build_agent(name, table, defaults) for name, table in file.agents.items()}
    faults = find_table_faults(file, agents)
    if faults:
        raise EnsemblesError(format_faults(faults, text, source))
    agents = {name: apply_endpoints(each, file.endpoints) for name, each in agents.items()}
    ensembles = {
        name: _build_ensemble(name, table, agents) for name, table in file.ensembles.items()
    }
    prices = {model: Price(**table.model_dump()) for model, table in file.prices.items()}
    faults = [
        fault
        for name, ensemble in ensembles.items()
        for fault in (
            *_check_strategy(name, ensemble, checks),
            *_check_budget(name, ensemble, prices),
        )
    ]
    if faults:
        raise EnsemblesError(format_faults(faults, text, source))
    return Catalog(
        default=file.default,
        ensembles=MappingProxyType(ensembles),
        single_agents=MappingProxyType(
            {each.name: each for each in map(_ensemble_of_one, agents.values())}
        ),
        agents=MappingProxyType(agents),
        prices=MappingProxyType(prices),
        limits=build_limits(file.endpoints),
        unguarded=find_unguarded(file.endpoints),
    )


def _check_strategy(name: str, ensemble: Ensemble, checks: Mapping[str, Check]) -> list[Fault]:
    where = ("ensembles", name)
    check = checks.get(ensemble.strategy)
    if check is None:
        known = ", ".join(sorted(checks))
        why = f"there is no strategy named {ensemble.strategy!r}; the strategies are {known}"
        return [((*where, "strategy"), why)]
    fault = check(ensemble)
    return [((*where, fault.key), fault.why)] if fault else []


def _check_budget(name: str, ensemble: Ensemble, prices: Mapping[str, Price]) -> list[Fault]:
    """Return a fault if the cost limit is below the least cost of each of the calls."""
    cap = ensemble.max_cost_usd
    costs = [
        prices[agent.model].cost_usd(Usage(len(agent.prompt) // CHARS_PER_TOKEN, 1))
        for agent in ensemble.all_agents
        if agent.model in prices
    ]
    if cap is None or len(costs) < len(ensemble.all_agents) or cap >= min(costs):
        return []
    why = f"the cheapest call costs at least {min(costs):.2g} US dollars"
    return [(("ensembles", name, "max_cost_usd"), why)]


def _ensemble_of_one(agent: Agent) -> Ensemble:
    table = EnsembleTable(strategy="solo", agents=[agent.name], timeout_s=agent.timeout_s)
    return _build_ensemble(f"{AGENT_PREFIX}{agent.name}", table, {agent.name: agent})


def _build_ensemble(name: str, table: EnsembleTable, agents: Mapping[str, Agent]) -> Ensemble:
    layers = build_layers(table, agents)
    used = [agent for layer in layers for agent in layer]
    roles: dict[str, Any] = {role: agents.get(getattr(table, role) or "") for role in ROLES}
    everyone = [*used, *(each for each in roles.values() if each)]
    has_local = any(is_local(host_of(each.base_url)) for each in everyone)
    return Ensemble(
        name=name,
        agents=tuple(used),
        layers=layers,
        timeout_s=table.timeout_s or (_LOCAL_TIMEOUT_S if has_local else _TIMEOUT_S),
        straggler_max_s=table.straggler_max_s or _STRAGGLER_MAX_S,
        config_hash=hash_configuration((table.model_dump(), everyone)),
        **roles,
        **table.model_dump(exclude={"agents", "layers", "timeout_s", "straggler_max_s", *ROLES}),
    )
