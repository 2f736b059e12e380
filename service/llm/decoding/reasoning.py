"""Text and reasoning in the values that model servers send for them.

Content is a string, or parts: OpenAI's, and Mistral's with nested lists of thinking. Reasoning has
a name and a shape for each server.
Sources: docs.mistral.ai (reasoning), openrouter.ai/docs (reasoning tokens), api-docs.deepseek.com,
docs.vllm.ai (reasoning outputs), docs.anthropic.com (extended thinking).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from service.errors import BadStream

# Names of reasoning beside those of `Delta`. Signatures and encrypted reasoning have no text.
_NAME = re.compile(
    r"reason|think|thought|cot\b|chain_of|rationale|reflection|scratchpad|deliberation|analysis",
    re.IGNORECASE,
)
_NO_TEXT = re.compile(
    r"(finish|stop)_?reason|signature|encrypted|redacted|tokens|effort|_id$", re.IGNORECASE
)
_TEXT_KEYS = ("text", "content", "summary", "thinking", "reasoning", "thought")
_MAX_DEPTH = 8


def is_reasoning_name(name: str) -> bool:
    """Return whether a field of this name holds reasoning."""
    return bool(_NAME.search(name)) and not _NO_TEXT.search(name)


def read_content(value: Any) -> tuple[str, str]:
    """Return the text and the reasoning of a message's content. Raises BadStream for a number.

    Parts that are neither, such as references, are left out.
    """
    if isinstance(value, str):
        return value, ""
    if not value:
        return "", ""
    if not isinstance(value, list | dict):
        raise BadStream("The model's server sent an answer that is not text.")
    texts: list[str] = []
    thoughts: list[str] = []
    for part in value if isinstance(value, list) else [value]:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, dict):
            _read_part(part, texts, thoughts)
    return "".join(texts), "".join(thoughts)


def _read_part(part: Mapping[str, Any], texts: list[str], thoughts: list[str]) -> None:
    kind = part.get("type")
    if (isinstance(kind, str) and is_reasoning_name(kind)) or part.get("thought") is True:
        thoughts.append(read_reasoning(part))
        return
    for key in ("text", "refusal", "content", "parts"):
        if text := _read_text(part.get(key)):
            texts.append(text)
            return
    thoughts.extend(read_reasoning(part[key]) for key in part if is_reasoning_name(key))


def _read_text(value: Any) -> str:
    """Return a text, also as `{"value": …}`, and in nested parts."""
    if isinstance(value, dict):
        value = value.get("value")
    if isinstance(value, list):
        return "".join(_read_text(each.get("text")) for each in value if isinstance(each, dict))
    return value if isinstance(value, str) else ""


def read_reasoning(value: Any) -> str:
    """Return the text of reasoning in any shape: a string, an object, or nested lists of them."""
    return "".join(_list_texts(value, _MAX_DEPTH))


def _list_texts(value: Any, depth: int) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif depth and isinstance(value, list):
        for each in value:
            yield from _list_texts(each, depth - 1)
    elif depth and isinstance(value, dict):
        names = (key for key in value if key not in _TEXT_KEYS and is_reasoning_name(key))
        for key in (*_TEXT_KEYS, *names):  # the first that has text: the others repeat it
            if texts := list(_list_texts(value.get(key), depth - 1)):
                yield from texts
                return
