"""The usage of an answer in a dialect."""

from __future__ import annotations

from typing import Any

from service.mock_llm.dialects.dialect import Dialect
from service.mock_llm.wire import MockReply


def write_usage(dialect: Dialect, reply: MockReply) -> dict[str, Any]:
    """Return the usage; a dialect that counts the tokens of the reasoning states them."""
    prompt, completion = reply.prompt_tokens, reply.completion_tokens
    counts = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }
    thoughts = {"reasoning_tokens": len(reply.reasoning)}
    fields = {**dialect.usage_fields}
    if "reasoning_tokens" in fields:
        fields |= thoughts
    if details := fields.get("completion_tokens_details"):
        fields["completion_tokens_details"] = {**details, **thoughts}
    return {**counts, **fields}
