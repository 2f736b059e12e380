"""Warnings about settings that are valid and probably not intended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from service.access.addresses import is_loopback
from service.app import agent_key
from service.ensembles.catalog import Agent, Catalog
from service.limits.rules import Rules
from service.settings import WITHOUT_EFFECT, Settings

_WITHOUT_PATH = frozenset({"api.deepseek.com", "api.perplexity.ai"})


def collect_warnings(
    settings: Settings, variables: Mapping[str, str], catalog: Catalog, rules: Rules
) -> Sequence[str]:
    """Return sentences about settings without effect, missing keys and prices, and sent keys."""
    warnings = [
        f"{name} has no effect in this version." for name in sorted(WITHOUT_EFFECT & set(variables))
    ]
    if any(each.limits("cost_usd") for each in rules.rules):
        warnings += [
            f"{model} has no price: limits of cost_usd do not count its calls."
            for model in sorted(catalog.models - catalog.prices.keys())
        ]
    if settings.workers > 1 and not settings.redis and _has_limits(settings):
        warnings.append(
            f"Without Redis each of {settings.workers} processes applies its share of the limits: "
            "set REDIS_URL to count together."
        )
    if settings.use_llm_mock and settings.default_key:
        warnings.append("An API key is set, but USE_LLM_MOCK is true: answers come from the mock.")
    if not settings.use_llm_mock:
        agents = catalog.targets
        keyless = [each for each in agents if not agent_key(each, settings, variables)]
        home = urlsplit(settings.default_base_url).netloc
        elsewhere = [each for each in keyless if not each.key_env and netloc_of(each) != home]
        names = sorted({each.key_env or "LLM_KEY" for each in keyless if each not in elsewhere})
        warnings += [f"{name} is not set: agents that need it will fail." for name in names]
        warnings += [
            f"{each.name} has no key for {netloc_of(each)}: set its key_env." for each in elsewhere
        ]
        warnings += [
            f"{agent.name} sends the default key to {host}: set its key_env to change that."
            for agent in agents
            if settings.llm_key and not agent.key_env
            if (host := netloc_of(agent)) != home
        ]
        warnings += [
            f"The address of {agent.name} has no path; that of most servers ends in /v1."
            for agent in agents
            if not urlsplit(agent.base_url).path and netloc_of(agent) not in _WITHOUT_PATH
        ]
    return warnings


def _has_limits(settings: Settings) -> bool:
    """Return whether any request may have a limit."""
    host, _ = settings.address
    is_open_to_others = host != "localhost" and not is_loopback(host)
    has_default = settings.rate_limit_requests is not None or (
        is_open_to_others and not settings.requires_auth
    )
    return settings.limits_file.exists() or (settings.rate_limit_enabled and has_default)


def netloc_of(agent: Agent) -> str:
    """Return the host and port of an agent's server."""
    return urlsplit(agent.base_url).netloc
