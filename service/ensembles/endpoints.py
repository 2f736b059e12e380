"""Settings of model servers: the tables `[endpoints."https://host/v1"]` of `ensembles.toml`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from service.base_url import normalize_endpoint, parse_base_url
from service.ensembles.agents import Agent
from service.ensembles.tables import EndpointTable


@dataclass(frozen=True, slots=True)
class EndpointLimits:
    """Requests and tokens in any 60 seconds, and calls at the same time; None: no limit."""

    rpm: int | None = None
    tpm: int | None = None
    parallel: int | None = None

    def share_between(self, processes: int) -> EndpointLimits:
        """Return the limits of one of several processes, at least 1 each."""
        rpm, tpm, parallel = (
            None if each is None else max(1, each // processes)
            for each in (self.rpm, self.tpm, self.parallel)
        )
        return EndpointLimits(rpm, tpm, parallel)


def build_limits(tables: Mapping[str, EndpointTable]) -> Mapping[str, EndpointLimits]:
    """Return the limits of the tables that have any, with normalized addresses as keys."""
    limits = {
        _normalize(address): EndpointLimits(table.rpm, table.tpm, table.parallel)
        for address, table in tables.items()
    }
    return MappingProxyType({key: each for key, each in limits.items() if each != EndpointLimits()})


def find_unguarded(tables: Mapping[str, EndpointTable]) -> frozenset[str]:
    """Return the normalized addresses of servers that are called also while they fail."""
    return frozenset(_normalize(address) for address, table in tables.items() if not table.breaker)


def find_endpoint_faults(tables: Mapping[str, EndpointTable]) -> list[tuple[str, str]]:
    """Return the addresses that are invalid, or named twice in different forms, each with why."""
    faults, seen = [], dict[str, str]()
    for address in tables:
        try:
            endpoint = _normalize(address)
        except ValueError as error:
            faults.append((address, str(error)))
            continue
        if endpoint in seen:
            faults.append((address, f"this server is also named {seen[endpoint]!r}"))
        seen[endpoint] = address
    return faults


def apply_endpoints(agent: Agent, tables: Mapping[str, EndpointTable]) -> Agent:
    """Return the agent with the settings of its server, and of that of its hedges."""
    settings = {_normalize(address): table for address, table in tables.items()}
    targets = [each for each in (agent, agent.hedge_target) if each is not None]
    found = [settings.get(_normalize(each.base_url)) for each in targets]
    return replace(agent, hedge=min((each or EndpointTable()).hedge for each in found))


def _normalize(address: str) -> str:
    return normalize_endpoint(parse_base_url(address))
