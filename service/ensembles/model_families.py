"""Well-known models: the sizes of their context windows, and their tokenizers.

Sources: the model pages of platform.openai.com/docs/models, console.groq.com/docs/models,
docs.mistral.ai, docs.anthropic.com, ai.google.dev/gemini-api/docs/models, docs.x.ai.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

Encoding = Literal["o200k", "cl100k"]


@dataclass(frozen=True, slots=True)
class ModelFamily:
    """Models with one context window and tokenizer.

    `context_tokens` is the limit of question and answer together. `encoding` is None when the
    tokenizer is not one of OpenAI's, so that token counts are estimates.
    """

    context_tokens: int
    encoding: Encoding | None = None


# Most models accept 128,000 tokens or more, and a server with a lower limit refuses the request:
# a guess that is too large costs one refusal and a line in ensembles.toml. One that is too small
# would drop messages of every long conversation, unnoticed.
_UNKNOWN = ModelFamily(128_000)

# By prefix of the model's name; the longest that matches applies.
_FAMILIES: Mapping[str, ModelFamily] = {
    "gpt-3.5": ModelFamily(16_385, "cl100k"),
    "gpt-35": ModelFamily(16_385, "cl100k"),  # Azure's spelling
    "gpt-4": ModelFamily(8_192, "cl100k"),
    "gpt-4-32k": ModelFamily(32_768, "cl100k"),
    "gpt-4-0125": ModelFamily(128_000, "cl100k"),
    "gpt-4-1106": ModelFamily(128_000, "cl100k"),
    "gpt-4-turbo": ModelFamily(128_000, "cl100k"),
    "gpt-4o": ModelFamily(128_000, "o200k"),
    "chatgpt-4o": ModelFamily(128_000, "o200k"),
    "gpt-4.1": ModelFamily(1_047_576, "o200k"),
    "gpt-4.5": ModelFamily(128_000, "o200k"),
    "gpt-5": ModelFamily(400_000, "o200k"),
    "gpt-5-chat": ModelFamily(128_000, "o200k"),
    "gpt-oss": ModelFamily(131_072, "o200k"),
    "o1": ModelFamily(200_000, "o200k"),
    "o1-mini": ModelFamily(128_000, "o200k"),
    "o1-preview": ModelFamily(128_000, "o200k"),
    "o3": ModelFamily(200_000, "o200k"),
    "o4": ModelFamily(200_000, "o200k"),
    "claude": ModelFamily(200_000),
    "gemini": ModelFamily(1_048_576),
    "gemma2": ModelFamily(8_192),
    "gemma-2": ModelFamily(8_192),
    "grok-3": ModelFamily(131_072),
    "grok-4": ModelFamily(256_000),
    "llama3-": ModelFamily(8_192),
    "llama-3-": ModelFamily(8_192),
    "llama-3.": ModelFamily(131_072),
    "llama-4": ModelFamily(131_072),
    "mixtral": ModelFamily(32_768),
}


def family_of(model: str) -> ModelFamily:
    """Return the family of `model`: "openai/gpt-4o-mini" is a gpt-4o."""
    name = model.lower().rpartition("/")[2].removeprefix("ft:")
    prefixes = [prefix for prefix in _FAMILIES if name.startswith(prefix)]
    return _FAMILIES[max(prefixes, key=len)] if prefixes else _UNKNOWN


def smallest_context(models: Iterable[str]) -> int:
    """Return the smallest context window, in tokens, to which a conversation is cut for all."""
    return min(family_of(model).context_tokens for model in models)
