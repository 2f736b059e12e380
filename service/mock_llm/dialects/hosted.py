"""Dialects of model services on the internet.

Sources: the documentation that the files in tests/dialects/servers name, and the responses there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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

_AUDIO_DETAILS = {
    "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
    "completion_tokens_details": {
        "reasoning_tokens": 0,
        "audio_tokens": 0,
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    },
}
_SAFE = {"filtered": False, "severity": "safe"}
_NO_FILTER: Fields = {"content_filter_results": {}}


def _azure_chunk(**fields: Any) -> Fields:
    """Return a chunk of Azure's content filter."""
    return {"choices": [], "created": 0, "id": "", "model": "", "object": "", **fields}


def _openrouter_details(**fields: str) -> Fields:
    detail = {"type": "reasoning.text", **fields, "format": "mock-v1", "index": 0}
    return {"content": "", "reasoning": fields.get("text"), "reasoning_details": [detail]}


HOSTED: Mapping[str, Dialect] = {
    "openai": Dialect(
        chunk_fields={
            "service_tier": "default",
            "system_fingerprint": "fp_mock",
            "obfuscation": "8aQ",
        },
        choice_fields=LOGPROBS,
        first_delta={"content": "", "refusal": None},
        message_fields={"refusal": None, "annotations": []},
        usage_fields=_AUDIO_DETAILS,
    ),
    "azure": Dialect(
        before=[
            _azure_chunk(
                prompt_filter_results=[
                    {
                        "prompt_index": 0,
                        "content_filter_results": {
                            "hate": _SAFE,
                            "jailbreak": {"filtered": False, "detected": False},
                        },
                    }
                ]
            )
        ],
        after=[
            _azure_chunk(
                choices=[
                    {
                        "content_filter_offsets": {
                            "check_offset": 0,
                            "start_offset": 0,
                            "end_offset": 1,
                        },
                        "content_filter_results": {"hate": _SAFE},
                        "finish_reason": None,
                        "index": 0,
                    }
                ]
            )
        ],
        chunk_fields={"system_fingerprint": "fp_mock"},
        choice_fields={**LOGPROBS, **_NO_FILTER},
        content_choice_fields={"content_filter_results": {"hate": _SAFE}},
        first_delta={"content": "", "refusal": None},
        message_fields={"refusal": None},
        error=errors.write_azure_error,
    ),
    "gemini": Dialect(
        first_delta=None,
        role_place=RolePlace.ALL,
        has_null_reason=False,
        usage_place=UsagePlace.LAST_CHUNK,
        has_null_usage=False,
        calls=CallForm(
            is_whole=True,
            has_index=False,
            first={"extra_content": {"google": {"thought_signature": "CvgBAR"}}},
            ends=True,
        ),
        reasoning_tag="thought",
        error=errors.write_gemini_error,
    ),
    "mistral": Dialect(
        content_chunk_fields={"p": "abcdefghijk"},
        end_delta=None,
        reasons={"length": "model_length"},
        usage_place=UsagePlace.LAST_CHUNK,
        usage_fields={"prompt_audio_seconds": None},
        has_usage_always=True,
        has_null_usage=False,
        calls=CallForm(is_whole=True, has_type=False, ends=True),
        reasoning=ReasoningForm(
            write=lambda text: {
                "content": [{"type": "thinking", "thinking": [{"type": "text", "text": text}]}]
            }
        ),
        error=errors.write_mistral_error,
    ),
    "groq": Dialect(
        chunk_fields={"system_fingerprint": "fp_mock"},
        first_chunk_fields={"x_groq": {"id": "req_mock"}},
        choice_fields=LOGPROBS,
        usage_fields={
            "queue_time": 0.037,
            "prompt_time": 0.0006,
            "completion_time": 0.46,
            "total_time": 0.46,
        },
        usage_also_in="x_groq",
        usage_chunk_fields={"service_tier": "on_demand"},
        has_null_usage=False,
        calls=CallForm(is_whole=True),
        reasoning=ReasoningForm(write=lambda text: {"reasoning": text}),
        error=errors.write_groq_error,
        error_event=ErrorEvent.NAMED,
    ),
    "deepseek": Dialect(
        comments=["keep-alive"] * 2,
        chunk_fields={"system_fingerprint": "fp_mock"},
        choice_fields=LOGPROBS,
        end_delta={"content": ""},
        usage_place=UsagePlace.LAST_CHUNK,
        usage_fields={**TOKEN_DETAILS, "prompt_cache_hit_tokens": 0, "prompt_cache_miss_tokens": 0},
        has_usage_always=True,
        has_null_usage=False,
        reasoning=ReasoningForm(
            write=lambda text: {"content": None, "reasoning_content": text},
            base={"reasoning_content": None},
            first={"content": None, "reasoning_content": ""},
        ),
        error=errors.write_deepseek_error,
    ),
    "openrouter": Dialect(
        comments=["OPENROUTER PROCESSING"] * 2,
        chunk_fields={"provider": "Mock"},
        choice_fields=LOGPROBS,
        delta_fields={"content": ""},
        first_delta=None,
        role_place=RolePlace.ALL,
        native_reasons={"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"},
        usage_place=UsagePlace.EMPTY_DELTA,
        usage_fields={**TOKEN_DETAILS, "cost": 0.000243, "is_byok": False},
        has_usage_always=True,
        has_null_usage=False,
        reasoning=ReasoningForm(
            write=lambda text: _openrouter_details(text=text),
            end=_openrouter_details(signature="EvEB"),
        ),
        error=errors.write_openrouter_error,
        error_event=ErrorEvent.CHUNK,
    ),
}
