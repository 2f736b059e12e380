"""An agent: one model with its server, prompt and limits, with every default filled in."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from service.base_url import host_of, is_local, parse_base_url
from service.ensembles.model_families import smallest_context
from service.ensembles.providers import key_header_of, provider_of
from service.ensembles.tables import DEFAULT_HEDGE, AgentTable

# Default time limits in seconds. A server on this machine or in its network loads a model into
# memory on the first question, which takes a minute and more for a large one.
_LIMITS_S = {"first_token_timeout_s": 30.0, "idle_timeout_s": 20.0, "timeout_s": 120.0}
_LOCAL_LIMITS_S = {"first_token_timeout_s": 300.0, "idle_timeout_s": 60.0, "timeout_s": 600.0}
_HEDGE_KEYS = {"hedge_base_url", "hedge_key_env", "hedge_model"}


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentDefaults:
    """The values of an agent that the file omits."""

    model: str
    base_url: str
    max_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """One model with its prompt and limits, with all defaults filled in. Times are in seconds.

    `key_header` is the header of the API key, with a scheme before the key if it has one.
    `stream_options`: whether a stream is requested with its usage. `content_parts` are the
    types of message parts other than text that the model accepts; None: all. `think_tags`:
    whether the text may have tags of reasoning. `continues_by`: how a text that broke off is
    sent to be continued. `instance` is the number of a copy; `json_schema` is that of an answer
    which the service reads itself, and no file sets it. `hedge` is the part of calls that may
    be sent a second time when their first token is late; `hedge_target` is the agent with the
    model, address and key of those. `config_hash` is a hash of all other fields.
    """

    name: str
    model: str
    base_url: str
    key_env: str | None
    key_header: str
    provider: str
    prompt: str
    temperature: float | None
    top_p: float | None
    max_tokens: int
    context_tokens: int
    stream: bool
    stream_options: bool
    first_token_timeout_s: float
    idle_timeout_s: float
    timeout_s: float
    retries: int
    fallbacks: tuple[str, ...]
    extra_body: Mapping[str, Any]
    content_parts: Sequence[str] | None = None
    think_tags: Literal["auto", "open", "off"] = "auto"
    continues_by: Literal["auto", "prefix", "instruction"] = field(default="auto", repr=False)
    instance: int = 0
    json_schema: Mapping[str, Any] | None = None
    config_hash: str = ""
    hedge: float = field(default=DEFAULT_HEDGE, repr=False)
    hedge_target: Agent | None = field(default=None, repr=False)

    def derive(self, name: str, **changes: Any) -> Agent:
        """Return an agent with another name and these fields changed."""
        changed = replace(self, name=name, config_hash="", **changes)
        return replace(changed, config_hash=hash_configuration(changed))


def build_agent(name: str, table: AgentTable, defaults: AgentDefaults) -> Agent:
    """Return the agent of a table. An invalid address remains as it is, for an error about it."""
    base_url = table.base_url if table.base_url is not None else defaults.base_url
    with contextlib.suppress(ValueError):
        base_url = parse_base_url(base_url)
    limits = _LOCAL_LIMITS_S if is_local(host_of(base_url)) else _LIMITS_S
    model = table.model or defaults.model
    given = table.model_dump(exclude_none=True, exclude=_HEDGE_KEYS)
    filled_in: dict[str, Any] = {
        "key_env": None,
        "key_header": key_header_of(base_url),
        "provider": provider_of(base_url),
        "temperature": None,
        "top_p": None,
        "max_tokens": defaults.max_tokens,
        "context_tokens": smallest_context([model, *table.fallbacks]),
        **limits,
        **given,
        "fallbacks": tuple(table.fallbacks),
    }
    agent = Agent(name=name, **{**filled_in, "model": model, "base_url": base_url})
    agent = replace(agent, config_hash=hash_configuration(agent))
    return replace(agent, hedge_target=_build_hedge_target(agent, table))


def _build_hedge_target(agent: Agent, table: AgentTable) -> Agent | None:
    """Return the agent with its second model, address and key; None if it has none of them."""
    if not (table.hedge_base_url or table.hedge_key_env):
        return None
    model, key_env = table.hedge_model or agent.model, table.hedge_key_env
    if not table.hedge_base_url:
        return replace(agent, model=model, key_env=key_env)
    base_url = table.hedge_base_url
    with contextlib.suppress(ValueError):
        base_url = parse_base_url(base_url)
    return replace(
        agent,
        model=model,
        base_url=base_url,
        key_env=key_env,
        key_header=key_header_of(base_url),
        provider=provider_of(base_url),
    )


def find_hedge_faults(table: AgentTable) -> list[tuple[str, str]]:
    """Return the keys of hedges that are invalid or without effect, each with the reason."""
    faults = []
    keys = [key for key in sorted(_HEDGE_KEYS) if getattr(table, key) is not None]
    if keys and not table.stream:
        faults.append((keys[0], "calls with stream = false are never hedged"))
    if table.hedge_model and not table.hedge_base_url:
        why = "another name of the model needs hedge_base_url, the address where it is valid"
        faults.append(("hedge_model", why))
    try:
        parse_base_url("https://host" if table.hedge_base_url is None else table.hedge_base_url)
    except ValueError as error:
        faults.append(("hedge_base_url", str(error)))
    return faults


def hash_configuration(configuration: object) -> str:
    """Return a hash by which a changed configuration is recognized."""
    return hashlib.sha256(repr(configuration).encode()).hexdigest()[:16]
