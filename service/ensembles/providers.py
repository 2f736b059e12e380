"""Whose server an address is. Pure."""

from __future__ import annotations

from urllib.parse import urlsplit

# Source: the well-known values of gen_ai.provider.name, OpenTelemetry GenAI conventions.
_PROVIDERS = {
    "api.openai.com": "openai",
    "api.groq.com": "groq",
    "api.mistral.ai": "mistral_ai",
    "api.deepseek.com": "deepseek",
    "api.x.ai": "x_ai",
    "api.perplexity.ai": "perplexity",
    "mock-llm": "mock",
}


def provider_of(url: str) -> str:
    """Return the provider's name, `openai_compatible` for a server that is not known."""
    return _PROVIDERS.get(host_of(url), "openai_compatible")


def host_of(url: str) -> str:
    """Return the host of an http or https address, "" when `url` is not one."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # only now is it looked at
    except ValueError:
        return ""
    return (parts.hostname or "") if parts.scheme in {"http", "https"} else ""
