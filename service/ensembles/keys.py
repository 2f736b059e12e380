"""The API key of an agent, and the servers that may receive it. No I/O.

A key is sent only to servers for which it was set: the variables of other tools, OPENAI_API_KEY and
GROQ_API_KEY, are often set for all programs of a user.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from service.base_url import host_of, is_local
from service.ensembles.agents import Agent
from service.settings import GROQ_URL, OPENAI_URL, Settings
from telemetry import register_secret

# For servers of the local network, most of which need no key and accept any.
NO_KEY = "none"


def make_key_finder(
    settings: Settings, variables: Mapping[str, str]
) -> Callable[[Agent], str | None]:
    """Return a function that finds the key of an agent; those of a process do not change."""
    found: dict[tuple[str | None, str], str | None] = {}

    def find(agent: Agent) -> str | None:
        server = agent.key_env, agent.base_url
        if server not in found:
            found[server] = agent_key(agent, settings, variables)
        return found[server]

    return find


def agent_key(agent: Agent, settings: Settings, variables: Mapping[str, str]) -> str | None:
    """Return the key to send to an agent's server, and redact it in logs from now on."""
    key = find_key(agent, settings, variables)
    if key:
        register_secret(key)
    return key


def find_key(agent: Agent, settings: Settings, variables: Mapping[str, str]) -> str | None:
    """Return the key to send to an agent's server; None when it needs one and none is set.

    It is that of its own variable, `key_env`, or the default key for its server.
    """
    if agent.key_env:
        key = variables.get(agent.key_env, "")
    else:
        key = _find_default_key(host_of(agent.base_url), settings)
    # A key read from a file often ends with a newline.
    return key.strip() or _find_local_key(agent, settings)


def _find_default_key(host: str, settings: Settings) -> str:
    """Return the key for agents without a `key_env` whose server is `host`, "" if there is none.

    LLM_KEY is for all of them. The other two are for their providers' servers, and for that of
    LLM_BASE_URL; if OPENAI_BASE_URL is set, OPENAI_API_KEY is only for that server.
    """
    configured = host_of(settings.llm_base_url or "")
    openai_hosts = {host_of(OPENAI_URL), configured}
    if settings.openai_base_url:
        openai_hosts = {host_of(settings.openai_base_url)}
    keys = (
        (settings.llm_key, {host}),
        (settings.openai_api_key, openai_hosts),
        (settings.groq_api_key, {host_of(GROQ_URL), configured}),
    )
    return next((key.get_secret_value() for key, hosts in keys if key and host in hosts), "")


def _find_local_key(agent: Agent, settings: Settings) -> str | None:
    """Return a placeholder for a local server of the agent's own without `key_env`."""
    host = host_of(agent.base_url)
    is_own = host != host_of(settings.default_base_url)
    return NO_KEY if is_own and not agent.key_env and is_local(host) else None
