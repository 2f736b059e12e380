"""`check`: the agents of the configuration, their servers and keys, and what is unusual."""

from __future__ import annotations

from collections.abc import Mapping

from service.cli.warnings import collect_warnings, netloc_of
from service.ensembles.catalog import Catalog
from service.ensembles.keys import agent_key
from service.ensembles.shipped import find_ensembles_file
from service.limits.file import LimitsFile
from service.llm.proxies import read_proxies
from service.settings import Settings
from service.store.connections.urls import parse_url


def run_check(settings: Settings, variables: Mapping[str, str], catalog: Catalog) -> int:
    """Print the valid configuration, with warnings, and return the exit code."""
    proxies = read_proxies({} if settings.use_llm_mock else variables)
    database = parse_url(settings.database).display_name
    print(f"{find_ensembles_file(settings)} is valid.\nThe database: {database}")
    rules = LimitsFile(settings.limits_file).rules
    if settings.limits_file.exists():
        print(f"{settings.limits_file} is valid: {len(rules.rules)} rules")
    for ensemble in catalog.ensembles.values():
        mark = " (default)" if ensemble.name == catalog.default else ""
        print(f"\n{ensemble.name}{mark}: {ensemble.strategy}")
        for agent in ensemble.all_agents:
            proxy = proxies.find_name(agent.base_url)
            where = netloc_of(agent) + (f" through the proxy {proxy}" if proxy else "")
            key = "key set" if agent_key(agent, settings, variables) else "no key"
            who = "the mock" if settings.use_llm_mock else f"{where}, {key}"
            print(f"  {agent.name}: {agent.model} ({who})")
    for warning in collect_warnings(settings, variables, catalog, rules):
        print(f"\nWarning: {warning}")
    return 0
