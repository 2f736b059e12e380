"""Warnings about settings that are valid and probably not intended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from service.access.addresses import is_loopback
from service.ensembles.catalog import Agent, Catalog
from service.ensembles.keys import agent_key
from service.limits.rules import Rules
from service.settings import Settings

_WITHOUT_PATH = frozenset({"api.deepseek.com", "api.perplexity.ai"})
_SHORTEST_KEY = 16


def collect_warnings(
    settings: Settings, variables: Mapping[str, str], catalog: Catalog, rules: Rules
) -> Sequence[str]:
    """Return sentences about open access, missing keys and prices, and where keys are sent."""
    warnings = _list_access_warnings(settings)
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
    has_default = settings.rate_limit_requests is not None or (
        not _is_local(host) and not settings.requires_auth
    )
    return settings.limits_file.exists() or (settings.rate_limit_enabled and has_default)


def _list_access_warnings(settings: Settings) -> list[str]:
    warnings = []
    host, port = settings.address
    if not (settings.use_llm_mock or settings.requires_auth or _is_local(host)):
        warnings.append(
            "AUTH is off and the service listens beyond this machine: any client that reaches it "
            "can spend your money and read all conversations. Set API_KEY or AUTH=required, or "
            f"HTTP_ADDR=127.0.0.1:{port} to serve this machine only."
        )
    is_reachable = not (settings.use_llm_mock or _is_local(host))
    if is_reachable and settings.requires_auth and settings.registration_mode == "open":
        warnings.append(
            "REGISTRATION is open: any client that reaches the service can register and ask "
            "questions at your expense. Set REGISTRATION=invite, or limits in limits.toml."
        )
    if settings.api_key and len(settings.api_key.get_secret_value()) < _SHORTEST_KEY:
        warnings.append(
            f"API_KEY has less than {_SHORTEST_KEY} characters and can be guessed; "
            "`openssl rand -hex 24` makes a better one."
        )
    jwks = urlsplit(settings.jwt_jwks or "")
    if jwks.scheme == "http" and not _is_local(jwks.hostname or ""):
        warnings.append(
            "JWT_JWKS is fetched without TLS: any machine on the way can replace the keys, and "
            "with them sign tokens. Use https."
        )
    return warnings


def _is_local(host: str) -> bool:
    """Return whether only this machine can reach `host`, which is empty for all interfaces."""
    return host.lower() == "localhost" or is_loopback(host)


def netloc_of(agent: Agent) -> str:
    """Return the host and port of an agent's server."""
    return urlsplit(agent.base_url).netloc
