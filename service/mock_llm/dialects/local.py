"""Dialects of model servers and proxies that users run.

Sources: the documentation that the files in tests/dialects/servers name, and the responses there.
"""

from __future__ import annotations

from collections.abc import Mapping

from service.mock_llm.dialects import errors
from service.mock_llm.dialects.dialect import (
    LOGPROBS,
    TOKEN_DETAILS,
    CallForm,
    Dialect,
    ErrorEvent,
    Fields,
    ReasoningForm,
    RolePlace,
    UsagePlace,
)

_TIMINGS = {
    "cache_n": 0,
    "prompt_n": 1,
    "prompt_ms": 92.332,
    "prompt_per_token_ms": 2.885375,
    "prompt_per_second": 346.57,
    "predicted_n": 1,
    "predicted_ms": 15.28,
    "predicted_per_token_ms": 8.27,
    "predicted_per_second": 120.8,
}


def _litellm_thinking(text: str, signature: str | None) -> Fields:
    block = {"type": "thinking", "thinking": text, "signature": signature}
    return {"content": "", "thinking_blocks": [block]}


LOCAL: Mapping[str, Dialect] = {
    "vllm": Dialect(
        choice_fields=LOGPROBS,
        end_delta={"content": ""},
        end_choice_fields={"stop_reason": None},
        has_null_usage=False,
        reasoning=ReasoningForm(write=lambda text: {"reasoning_content": text}),
        error=errors.write_vllm_error,
    ),
    "sglang": Dialect(
        choice_fields={**LOGPROBS, "matched_stop": None},
        end_choice_fields={"matched_stop": 1},
        delta_fields={"role": None, "content": None, "reasoning_content": None, "tool_calls": None},
        message_fields={"reasoning_content": None, "tool_calls": None},
        usage_fields={"prompt_tokens_details": None, "reasoning_tokens": 0},
        has_null_usage=True,
        calls=CallForm(later={"id": None, "type": "function"}),
        reasoning=ReasoningForm(write=lambda text: {"reasoning_content": text}),
        error=errors.write_sglang_error,
    ),
    "llama_cpp": Dialect(
        chunk_fields={"system_fingerprint": "b5500-mock"},
        first_delta={"content": None},
        usage_fields={"prompt_tokens_details": {"cached_tokens": 0}},
        usage_chunk_fields={"timings": _TIMINGS},
        has_null_usage=False,
        reasoning=ReasoningForm(write=lambda text: {"reasoning_content": text}),
        error=errors.write_llama_cpp_error,
        error_event=ErrorEvent.FIELD,
    ),
    "ollama": Dialect(
        chunk_fields={"system_fingerprint": "fp_ollama"},
        delta_fields={"content": ""},
        first_delta=None,
        role_place=RolePlace.ALL,
        has_null_usage=False,
        calls=CallForm(is_whole=True, index=0),
        reasoning=ReasoningForm(write=lambda text: {"reasoning": text}),
        error=errors.write_ollama_error,
    ),
    "lm_studio": Dialect(
        chunk_fields={"system_fingerprint": "mock"},
        choice_fields=LOGPROBS,
        first_delta=None,
        role_place=RolePlace.CONTENT,
        has_null_usage=False,
        error=errors.write_lm_studio_error,
        error_event=ErrorEvent.NAMED,
    ),
    "litellm": Dialect(
        first_delta=None,
        has_null_reason=False,
        usage_place=UsagePlace.EMPTY_DELTA,
        usage_fields={
            **TOKEN_DETAILS,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
        },
        has_null_usage=False,
        calls=CallForm(later={"id": None, "type": "function"}),
        reasoning=ReasoningForm(
            write=lambda text: {"reasoning_content": text, **_litellm_thinking(text, None)},
            end=_litellm_thinking("", "Er8BC"),
        ),
        error=errors.write_litellm_error,
    ),
}
