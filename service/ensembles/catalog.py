"""The agents and ensembles of `ensembles.toml`: parses its text into a `Catalog`, without I/O.

An agent is a model with a prompt, a server address and time limits. An ensemble is a strategy
with its agents. Values that the file omits come from the settings (`AgentDefaults`).
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from pydantic import ValidationError

from service.base_url import host_of, is_local, parse_base_url
from service.domain import Price
from service.ensembles.agents import (
    Agent,
    AgentDefaults,
    build_agent,
    find_hedge_faults,
    hash_configuration,
)
from service.ensembles.endpoints import apply_endpoints, find_endpoint_faults
from service.ensembles.tables import EnsemblesTable, EnsembleTable
from service.ensembles.toml_lines import line_of, load_tables, syntax_fault

__all__ = [
    "AGENT_PREFIX",
    "Agent",
    "AgentDefaults",
    "Catalog",
    "Check",
    "Ensemble",
    "EnsemblesError",
    "parse_ensembles",
]

AGENT_PREFIX = "agent/"
# Default time limits of a run, in seconds: the second where an agent's model may have to be loaded.
_TIMEOUT_S = 180.0
_LOCAL_TIMEOUT_S = 900.0
_STRAGGLER_MAX_S = 10.0


class EnsemblesError(Exception):
    """The file is invalid. Each line of the message has the form `file:line: key: reason`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ensemble:
    """A strategy and its agents.

    After `min_answers` answers a run waits for the others for `straggler_grace_s`; with "auto" as
    long as each of them usually takes, and at most `straggler_max_s`; with "none" until each has
    ended. `config_hash` is a hash of the prompts and limits; each run stores that of the
    configuration it used.
    """

    name: str
    strategy: str
    agents: tuple[Agent, ...]
    combiner: Agent | None
    min_answers: int
    straggler_grace_s: float | Literal["auto", "none"]
    straggler_max_s: float
    timeout_s: float
    max_cost_usd: float | None
    config_hash: str

    @property
    def all_agents(self) -> tuple[Agent, ...]:
        """The agents, and after them the combiner if there is one."""
        return (*self.agents, *([self.combiner] if self.combiner else []))


@dataclass(frozen=True, slots=True)
class Catalog:
    """The contents of `ensembles.toml`. `prices` has model names as keys.

    `single_agents` has an ensemble `agent/<name>` for each agent.
    """

    default: str
    ensembles: Mapping[str, Ensemble]
    single_agents: Mapping[str, Ensemble]
    agents: Mapping[str, Agent]
    prices: Mapping[str, Price]

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
Check = Callable[[Ensemble], str | None]


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
        faults = [(tuple(fault["loc"]), _reword(fault["msg"])) for fault in error.errors()]
        raise EnsemblesError(_format_faults(faults, text, source)) from error
    agents = {name: build_agent(name, table, defaults) for name, table in file.agents.items()}
    faults = _find_faults(file, agents)
    if faults:
        raise EnsemblesError(_format_faults(faults, text, source))
    agents = {name: apply_endpoints(each, file.endpoints) for name, each in agents.items()}
    ensembles = {
        name: _build_ensemble(name, table, agents) for name, table in file.ensembles.items()
    }
    faults = [
        fault for name, table in ensembles.items() for fault in _check_strategy(name, table, checks)
    ]
    if faults:
        raise EnsemblesError(_format_faults(faults, text, source))
    return Catalog(
        default=file.default,
        ensembles=MappingProxyType(ensembles),
        single_agents=MappingProxyType(
            {each.name: each for each in map(_ensemble_of_one, agents.values())}
        ),
        agents=MappingProxyType(agents),
        prices=MappingProxyType(
            {model: Price(**table.model_dump()) for model, table in file.prices.items()}
        ),
    )


_Fault = tuple[tuple[str | int, ...], str]


def _find_faults(file: EnsemblesTable, agents: Mapping[str, Agent]) -> list[_Fault]:
    faults: list[_Fault] = []
    if file.default not in file.ensembles:
        faults.append((("default",), f"there is no ensemble named {file.default!r}"))
    for name, agent in agents.items():
        if agent.max_tokens >= agent.context_tokens and file.agents[name].context_tokens:
            why = f"{agent.max_tokens} of max_tokens leave no room for the question"
            faults.append((("agents", name, "context_tokens"), why))
        try:
            parse_base_url(agent.base_url)
        except ValueError as error:
            faults.append((("agents", name, "base_url"), str(error)))
        for key, why in find_hedge_faults(file.agents[name]):
            faults.append((("agents", name, key), why))
    faults += [(("endpoints", *each), why) for *each, why in find_endpoint_faults(file.endpoints)]
    for name, table in file.ensembles.items():
        at = ("ensembles", name)
        combiner = [("combiner", table.combiner)] if table.combiner else []
        for key, wanted in [*(("agents", each) for each in table.agents), *combiner]:
            if wanted not in agents:
                faults.append(((*at, key), f"there is no agent named {wanted!r}"))
        if len(set(table.agents)) < len(table.agents) or table.combiner in table.agents:
            faults.append(((*at, "agents"), "each agent can be named only once"))
        if table.straggler_max_s and table.straggler_grace_s != "auto":
            why = 'it limits only straggler_grace_s = "auto"'
            faults.append(((*at, "straggler_max_s"), why))
        if table.min_answers > len(table.agents):
            why = f"{table.min_answers} answers can never come from {len(table.agents)} agents"
            faults.append(((*at, "min_answers"), why))
    return faults


def _check_strategy(name: str, ensemble: Ensemble, checks: Mapping[str, Check]) -> list[_Fault]:
    where = ("ensembles", name, "strategy")
    check = checks.get(ensemble.strategy)
    if check is None:
        known = ", ".join(sorted(checks))
        why = f"there is no strategy named {ensemble.strategy!r}; the strategies are {known}"
        return [(where, why)]
    fault = check(ensemble)
    return [(where, fault)] if fault else []


def _ensemble_of_one(agent: Agent) -> Ensemble:
    table = EnsembleTable(strategy="solo", agents=[agent.name], timeout_s=agent.timeout_s)
    return _build_ensemble(f"{AGENT_PREFIX}{agent.name}", table, {agent.name: agent})


def _build_ensemble(name: str, table: EnsembleTable, agents: Mapping[str, Agent]) -> Ensemble:
    used = [agents[each] for each in table.agents]
    combiner = agents[table.combiner] if table.combiner else None
    everyone = [*used, *([combiner] if combiner else [])]
    has_local = any(is_local(host_of(each.base_url)) for each in everyone)
    return Ensemble(
        name=name,
        agents=tuple(used),
        combiner=combiner,
        timeout_s=table.timeout_s or (_LOCAL_TIMEOUT_S if has_local else _TIMEOUT_S),
        straggler_max_s=table.straggler_max_s or _STRAGGLER_MAX_S,
        config_hash=hash_configuration((table.model_dump(), used, combiner)),
        **table.model_dump(exclude={"agents", "combiner", "timeout_s", "straggler_max_s"}),
    )


def _format_faults(faults: list[_Fault], text: str, source: str) -> str:
    return "\n".join(
        f"{source}:{line_of(text, where)}: {'.'.join(map(str, where)) or 'file'}: {why}"
        for where, why in faults
    )


def _reword(message: str) -> str:
    return {
        "Extra inputs are not permitted": "this key is not known",
        "Field required": "this key is missing",
    }.get(message, message[:1].lower() + message[1:])
