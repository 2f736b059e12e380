"""Fields of requests in OpenAI's format that request nothing: they are left out, not refused.

Clients send null and empty values for the fields that they know, and send an answer back with
whatever a library or another server had added to it. An unknown field whose value could change
the answer is refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import model_validator

from service.api.http.body import Body

_EMPTY: tuple[Any, ...] = (None, "", [], {})

# Reasoning of an earlier answer, which is no part of the conversation, and descriptions of the
# answer. Sources: the messages that DeepSeek, OpenRouter, vLLM and Ollama return; LiteLLM's
# `Message`; LangChain's `AIMessage`; the Vercel AI SDK's `ModelMessage`; Open WebUI; LibreChat.
IGNORED_OF_MESSAGES = frozenset(
    {
        "reasoning", "reasoning_content", "reasoning_details", "reasoning_signature",
        "reasoning_text", "redacted_reasoning_content", "signature", "thinking",
        "thinking_blocks", "thinking_content", "thought", "thoughts",
        "additional_kwargs", "cache_control", "created", "created_at", "createdAt", "done_reason",
        "experimental_providerMetadata", "finish_reason", "id", "index", "logprobs", "messageId",
        "metadata", "model", "object", "parentMessageId", "phase", "providerMetadata",
        "providerOptions", "provider_specific_fields", "response_metadata", "status",
        "stop_reason", "timestamp", "usage", "usage_metadata", "weight",
    }
)  # fmt: skip

# Of a complete request: labels of the client, and what a server reports beside the answer.
IGNORED_OF_REQUESTS = frozenset(
    {"chat_id", "include_reasoning", "litellm_metadata", "session_id", "usage"}
)

# Further fields of an answer that is sent back. In a question they could mean something.
_IGNORED_OF_ANSWERS = frozenset(
    {
        "chat_id", "childrenIds", "citations", "context", "done", "executed_tools", "info",
        "lastSentence", "models", "revisionId", "search_results", "sources", "token_ids",
    }
)  # fmt: skip
_REASONING_NAME = re.compile(r"reason|think|thought|\bcot\b", re.IGNORECASE)
_REASONING_PARTS = frozenset({"reasoning", "reasoning_text", "redacted_thinking", "thinking"})


class TolerantBody(Body):
    """A part of a request whose unknown fields may be present if they request nothing."""

    ignored: ClassVar[frozenset[str]] = frozenset()

    @model_validator(mode="before")
    @classmethod
    def _leave_out(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        known = cls.model_fields.keys() | {each.alias for each in cls.model_fields.values()}
        return {
            name: value
            for name, value in data.items()
            if name in known or not (name in cls.ignored or is_empty(value))
        }


def is_empty(value: object) -> bool:
    """Return whether a value requests nothing: null, or an empty text, list or object."""
    return any(value == each and type(value) is type(each) for each in _EMPTY)


def drop_additions(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return an assistant's message without reasoning and what servers add to an answer."""
    if message.get("role") != "assistant":
        return message
    message = {name: each for name, each in message.items() if not _is_addition(name)}
    content = message.get("content")
    if not isinstance(content, list):
        return message
    kept = [part for part in content if not _is_reasoning(part)]
    is_complete = kept and len(kept) == len(content)
    return message if is_complete else {**message, "content": kept or ""}


def _is_addition(name: str) -> bool:
    return name in _IGNORED_OF_ANSWERS or bool(_REASONING_NAME.search(name))


def _is_reasoning(part: object) -> bool:
    return isinstance(part, dict) and part.get("type") in _REASONING_PARTS
