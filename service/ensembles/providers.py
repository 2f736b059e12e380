"""The provider of a model's server, by its address."""

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
    """Return the provider's name, `openai_compatible` for an unknown server."""
    return _PROVIDERS.get(host_of(url), "openai_compatible")


def host_of(url: str) -> str:
    """Return the host of an http or https address; "" for any other text."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises ValueError for an invalid port
    except ValueError:
        return ""
    return (parts.hostname or "") if parts.scheme in {"http", "https"} else ""
