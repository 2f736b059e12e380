"""The agents and ensembles of `ensembles.toml`: parses its text into a `Catalog`, without I/O.

An agent is a model with a prompt, a server address and time limits. An ensemble is a strategy
with its agents. Values that the file omits come from the settings (`AgentDefaults`).
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from service.domain import Price
from service.ensembles.model_families import smallest_context
from service.ensembles.providers import host_of, provider_of
from service.ensembles.tables import AgentTable, EnsemblesTable, EnsembleTable
from service.ensembles.toml_lines import line_of, syntax_fault

AGENT_PREFIX = "agent/"


class EnsemblesError(Exception):
    """The file is invalid. Each line of the message has the form `file:line: key: reason`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentDefaults:
    """The values of an agent that the file omits."""

    model: str
    base_url: str
    max_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """One model with its prompt and limits, with all defaults filled in. Times are in seconds.

    `content_parts` are the types of message parts other than text that the model accepts; None:
    all. `config_hash` is a hash of all other fields.
    """

    name: str
    model: str
    base_url: str
    key_env: str | None
    provider: str
    prompt: str
    temperature: float | None
    top_p: float | None
    max_tokens: int
    context_tokens: int
    stream: bool
    first_token_timeout_s: float
    idle_timeout_s: float
    timeout_s: float
    retries: int
    fallbacks: tuple[str, ...]
    extra_body: Mapping[str, Any]
    content_parts: Sequence[str] | None = None
    config_hash: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ensemble:
    """A strategy and its agents.

    Without `straggler_grace_s` a run waits for every agent. `config_hash` is a hash of the prompts
    and limits; each run stores that of the configuration it used.
    """

    name: str
    strategy: str
    agents: tuple[Agent, ...]
    combiner: Agent | None
    min_answers: int
    straggler_grace_s: float | None
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
            model for agent in self.agents.values() for model in (agent.model, *agent.fallbacks)
        )


# Returns why an ensemble cannot use a strategy, None when it can.
Check = Callable[[Ensemble], str | None]


def parse_ensembles(
    text: str, *, source: str, defaults: AgentDefaults, checks: Mapping[str, Check]
) -> Catalog:
    """Parse TOML into a catalog. `checks` has a function for each strategy.

    Raises EnsemblesError with the line and the reason of each fault; `source` names the file.
    """
    try:
        file = EnsemblesTable.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        line, reason = syntax_fault(error, text)
        raise EnsemblesError(f"{source}:{line}: {reason}") from error
    except ValidationError as error:
        faults = [(tuple(fault["loc"]), _reword(fault["msg"])) for fault in error.errors()]
        raise EnsemblesError(_format_faults(faults, text, source)) from error
    agents = {name: _build_agent(name, table, defaults) for name, table in file.agents.items()}
    faults = _find_faults(file, agents)
    if faults:
        raise EnsemblesError(_format_faults(faults, text, source))
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
        if not host_of(agent.base_url):
            where = ("agents", name, "base_url")
            faults.append((where, f"{agent.base_url!r} is not an http or https address"))
    for name, table in file.ensembles.items():
        at = ("ensembles", name)
        combiner = [("combiner", table.combiner)] if table.combiner else []
        for key, wanted in [*(("agents", each) for each in table.agents), *combiner]:
            if wanted not in agents:
                faults.append(((*at, key), f"there is no agent named {wanted!r}"))
        if len(set(table.agents)) < len(table.agents) or table.combiner in table.agents:
            faults.append(((*at, "agents"), "each agent can be named only once"))
        if table.min_answers > len(table.agents):
            why = f"{table.min_answers} answers can never come from {len(table.agents)} agents"
            faults.append(((*at, "min_answers"), why))
    return faults


def _check_strategy(name: str, ensemble: Ensemble, checks: Mapping[str, Check]) -> list[_Fault]:
    where = ("ensembles", name, "strategy")
    check = checks.get(ensemble.strategy)
    if check is None:
        known = ", ".join(sorted(checks))
        return [(where, f"{ensemble.strategy!r} is not a strategy; there are: {known}")]
    fault = check(ensemble)
    return [(where, fault)] if fault else []


def _build_agent(name: str, table: AgentTable, defaults: AgentDefaults) -> Agent:
    base_url = (table.base_url or defaults.base_url).rstrip("/")
    model = table.model or defaults.model
    filled_in = {"model", "base_url", "provider", "max_tokens", "context_tokens", "fallbacks"}
    fields = table.model_dump(exclude=filled_in)
    agent = Agent(
        name=name,
        model=model,
        base_url=base_url,
        provider=table.provider or provider_of(base_url),
        max_tokens=table.max_tokens or defaults.max_tokens,
        context_tokens=table.context_tokens or smallest_context([model, *table.fallbacks]),
        fallbacks=tuple(table.fallbacks),
        **fields,
    )
    return replace(agent, config_hash=_hash(agent))


def _ensemble_of_one(agent: Agent) -> Ensemble:
    table = EnsembleTable(strategy="solo", agents=[agent.name], timeout_s=agent.timeout_s)
    return _build_ensemble(f"{AGENT_PREFIX}{agent.name}", table, {agent.name: agent})


def _build_ensemble(name: str, table: EnsembleTable, agents: Mapping[str, Agent]) -> Ensemble:
    used = [agents[each] for each in table.agents]
    combiner = agents[table.combiner] if table.combiner else None
    return Ensemble(
        name=name,
        agents=tuple(used),
        combiner=combiner,
        config_hash=_hash((table.model_dump(), used, combiner)),
        **table.model_dump(exclude={"agents", "combiner"}),
    )


def _hash(configuration: object) -> str:
    return hashlib.sha256(repr(configuration).encode()).hexdigest()[:16]


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
