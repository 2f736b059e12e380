"""Prompts and answers as span attributes, recorded only after the standard opt-in.

Source: https://github.com/open-telemetry/semantic-conventions-genai, gen-ai-input-messages.json
"""

import json
from collections.abc import Iterable

from telemetry import semconv
from telemetry.logs import redact


def build_content_attributes(
    messages: Iterable[tuple[str, str]], answer: str, finish_reason: str
) -> dict[str, str]:
    """Return one call's content as attributes, with API keys redacted.

    `messages` holds pairs of role and text.
    """
    inputs = [{"role": role, "parts": [_build_part(text)]} for role, text in messages]
    output = {"role": "assistant", "parts": [_build_part(answer)], "finish_reason": finish_reason}
    contents = {
        semconv.INPUT_MESSAGES: inputs,
        semconv.OUTPUT_MESSAGES: [output] if answer else [],
    }
    return {
        name: redact(json.dumps(value, ensure_ascii=False))
        for name, value in contents.items()
        if value
    }


def _build_part(text: str) -> dict[str, str]:
    return {"type": "text", "content": text}
