"""Prompts and answers as span attributes, for those who opted in; never on by default.

Source: https://github.com/open-telemetry/semantic-conventions-genai, gen-ai-input-messages.json
"""

import json
from collections.abc import Iterable

from telemetry import semconv
from telemetry.logs import redact


def content_attributes(
    asked: Iterable[tuple[str, str]], answer: str, finish_reason: str
) -> dict[str, str]:
    """Return one call's content; `asked` holds pairs of role and text. Keys are taken out."""
    inputs = [{"role": role, "parts": [_part(text)]} for role, text in asked]
    output = {"role": "assistant", "parts": [_part(answer)], "finish_reason": finish_reason}
    contents = {
        semconv.INPUT_MESSAGES: inputs,
        semconv.OUTPUT_MESSAGES: [output] if answer else [],
    }
    return {
        name: redact(json.dumps(value, ensure_ascii=False))
        for name, value in contents.items()
        if value
    }


def _part(text: str) -> dict[str, str]:
    return {"type": "text", "content": text}
