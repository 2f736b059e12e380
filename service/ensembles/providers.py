"""The provider of a model's server, by its address, and the header in which it expects the key."""

from __future__ import annotations

from urllib.parse import urlsplit

from service.base_url import host_of

BEARER = "Authorization: Bearer"

# Source: the well-known values of gen_ai.provider.name, OpenTelemetry GenAI conventions.
_PROVIDERS = {
    "api.openai.com": "openai",
    "api.groq.com": "groq",
    "api.mistral.ai": "mistral_ai",
    "api.deepseek.com": "deepseek",
    "api.x.ai": "x_ai",
    "api.perplexity.ai": "perplexity",
    "api.anthropic.com": "anthropic",
    "api.cohere.ai": "cohere",
    "api.cohere.com": "cohere",
    "generativelanguage.googleapis.com": "gcp.gemini",
    "openrouter.ai": "openrouter",
    "mock-llm": "mock",
}
_AZURE = (".openai.azure.com", ".services.ai.azure.com", ".cognitiveservices.azure.com")
_AZURE_DEPLOYMENTS = "/openai/deployments/"


def provider_of(url: str) -> str:
    """Return the provider's name, `openai_compatible` for an unknown server."""
    host = host_of(url)
    if host.endswith(_AZURE):
        return "azure.ai.openai"
    return _PROVIDERS.get(host, "openai_compatible")


def key_header_of(url: str) -> str:
    """Return the header of the key, with the scheme before the key.

    Azure's addresses of deployments accept a bearer token only from its identity service.
    Source: https://learn.microsoft.com/azure/ai-foundry/openai/reference#authentication
    """
    is_deployment = _AZURE_DEPLOYMENTS in urlsplit(url).path if host_of(url) else False
    return "api-key" if is_deployment or provider_of(url) == "azure.ai.openai" else BEARER
