"""Settings of model servers: the tables `[endpoints."https://host/v1"]` of `ensembles.toml`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import urlsplit, urlunsplit

from service.base_url import parse_base_url
from service.ensembles.agents import Agent
from service.ensembles.tables import EndpointTable

_DEFAULT_PORTS = {"http": 80, "https": 443}


def normalize_endpoint(base_url: str) -> str:
    """Return the form of an address in which equal ones are equal texts.

    The host is in lower case, and a default port and a final slash are left out. Raises ValueError
    for what is no address.
    """
    parts = urlsplit(parse_base_url(base_url))
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    if parts.port and parts.port != _DEFAULT_PORTS[parts.scheme]:
        host = f"{host}:{parts.port}"
    return urlunsplit((parts.scheme, host, parts.path, parts.query, ""))


def find_endpoint_faults(tables: Mapping[str, EndpointTable]) -> list[tuple[str, str]]:
    """Return the addresses that are invalid, or named twice in different forms, each with why."""
    faults, seen = [], dict[str, str]()
    for address in tables:
        try:
            endpoint = normalize_endpoint(address)
        except ValueError as error:
            faults.append((address, str(error)))
            continue
        if endpoint in seen:
            faults.append((address, f"this server is also named {seen[endpoint]!r}"))
        seen[endpoint] = address
    return faults


def apply_endpoints(agent: Agent, tables: Mapping[str, EndpointTable]) -> Agent:
    """Return the agent with the settings of its server, and of that of its hedges."""
    settings = {normalize_endpoint(address): table for address, table in tables.items()}
    targets = [each for each in (agent, agent.hedge_target) if each is not None]
    found = [settings.get(normalize_endpoint(each.base_url)) for each in targets]
    return replace(agent, hedge=min((each or EndpointTable()).hedge for each in found))
