"""Well-known models: their context windows and tokenizers, and the parameters that they refuse.

Sources of windows: the model pages of platform.openai.com/docs/models, docs.mistral.ai,
console.groq.com/docs/models, docs.anthropic.com, ai.google.dev/gemini-api/docs/models, docs.x.ai.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

Encoding = Literal["o200k", "cl100k"]


LimitField = Literal["max_tokens", "max_completion_tokens"]

# Parameters that OpenAI's reasoning models refuse, unless they have their default values.
# Source: https://platform.openai.com/docs/guides/reasoning, https://learn.microsoft.com/azure/
# ai-foundry/openai/how-to/reasoning#not-supported
_SAMPLING = frozenset({"temperature", "top_p", "presence_penalty", "frequency_penalty"})
# Source: https://docs.x.ai/docs/models ("not supported by reasoning models")
_GROK = frozenset({"presence_penalty", "frequency_penalty"})


# The most that an image counts: Claude 4,784, Gemini 4,128 in 16 tiles, GPT-4.1 and later 3,779,
# GPT-4o 1,445. GPT-4o mini counts an image up to 33 times as much as GPT-4o.
# Sources: platform.openai.com/docs/guides/images-vision, docs.anthropic.com/en/docs/build-with-
# claude/vision, ai.google.dev/gemini-api/docs/image-understanding
_IMAGE_TOKENS = 5_000
_IMAGE_TOKENS_4O_MINI = 48_200


@dataclass(frozen=True, slots=True)
class ModelFamily:
    """Models with one context window, tokenizer and set of parameters.

    `context_tokens` is the limit of question and answer together. `encoding` is None when the
    tokenizer is not one of OpenAI's, so that token counts are estimates. `refused` are the
    parameters that requests leave out. `limit_field` is the only name of the token limit that the
    family accepts, None where it depends on the server. `image_tokens` is the most that one image
    counts.
    """

    context_tokens: int
    encoding: Encoding | None = None
    refused: frozenset[str] = frozenset()
    limit_field: LimitField | None = None
    has_system_role: bool = True
    image_tokens: int = _IMAGE_TOKENS


def _reasoning(context_tokens: int, *, has_system_role: bool = True) -> ModelFamily:
    return ModelFamily(context_tokens, "o200k", _SAMPLING, "max_completion_tokens", has_system_role)


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
    "gpt-4o-mini": ModelFamily(128_000, "o200k", image_tokens=_IMAGE_TOKENS_4O_MINI),
    "chatgpt-4o": ModelFamily(128_000, "o200k"),
    "gpt-4.1": ModelFamily(1_047_576, "o200k"),
    "gpt-4.5": ModelFamily(128_000, "o200k"),
    "gpt-5": _reasoning(400_000),
    "gpt-5-chat": ModelFamily(128_000, "o200k"),
    "gpt-oss": ModelFamily(131_072, "o200k"),
    "o1": _reasoning(200_000),
    "o1-mini": _reasoning(128_000, has_system_role=False),
    "o1-preview": _reasoning(128_000, has_system_role=False),
    "o3": _reasoning(200_000),
    "o4": _reasoning(200_000),
    "claude": ModelFamily(200_000),
    "gemini": ModelFamily(1_048_576),
    "gemma2": ModelFamily(8_192),
    "gemma-2": ModelFamily(8_192),
    "grok-3": ModelFamily(131_072),
    "grok-3-mini": ModelFamily(131_072, refused=_GROK),
    "grok-4": ModelFamily(256_000, refused=_GROK | {"reasoning_effort"}),
    "llama-2": ModelFamily(4_096),
    "llama2": ModelFamily(4_096),
    "llama3-": ModelFamily(8_192),
    "llama-3-": ModelFamily(8_192),
    "llama-3.": ModelFamily(131_072),
    "llama-4": ModelFamily(131_072),
    "mixtral": ModelFamily(32_768),
}


@lru_cache(maxsize=1_024)
def family_of(model: str) -> ModelFamily:
    """Return the family of `model`: "openai/gpt-4o-mini" is a gpt-4o."""
    name = model.lower().rpartition("/")[2].removeprefix("ft:")
    prefixes = [prefix for prefix in _FAMILIES if name.startswith(prefix)]
    return _FAMILIES[max(prefixes, key=len)] if prefixes else _UNKNOWN


# By prefix of the model's name; the names of makers, for comparisons between their models.
_MAKERS: Mapping[str, str] = {
    **dict.fromkeys(("gpt", "chatgpt", "o1", "o3", "o4", "codex"), "openai"),
    "claude": "anthropic",
    **dict.fromkeys(("gemini", "gemma"), "google"),
    **dict.fromkeys(("llama", "meta-llama"), "meta"),
    **dict.fromkeys(
        ("mistral", "mixtral", "ministral", "codestral", "magistral", "pixtral", "devstral"),
        "mistral",
    ),
    **dict.fromkeys(("qwen", "qwq"), "qwen"),
    "deepseek": "deepseek",
    "grok": "xai",
    "command": "cohere",
    "phi": "microsoft",
}
_LETTERS = re.compile(r"[a-z]*")


def name_family(model: str) -> str:
    """Return the maker of a model, such as "openai"; for an unknown one the start of its name.

    Models of one maker prefer texts of their own kind: https://arxiv.org/abs/2404.13076
    """
    name = model.lower().partition("?")[0].rpartition("/")[2].removeprefix("ft:")
    prefixes = [prefix for prefix in _MAKERS if name.startswith(prefix)]
    if prefixes:
        return _MAKERS[max(prefixes, key=len)]
    letters = _LETTERS.match(name)
    return (letters and letters[0]) or name


def smallest_context(models: Iterable[str]) -> int:
    """Return the smallest context window, in tokens, to which a conversation is cut for all."""
    return min(family_of(model).context_tokens for model in models)
