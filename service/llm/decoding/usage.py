"""Token counts that model servers report. Counts that cannot be true are no usage."""

from __future__ import annotations

from typing import Any

from service.domain import Usage

_MAX_TOKENS = 1_000_000_000  # of one call; the database stores 32 bits

_INPUT = ("prompt_tokens", "input_tokens")
_OUTPUT = ("completion_tokens", "output_tokens")


def read_usage(value: Any) -> Usage | None:
    """Return the counts of a server's `usage`; None when they cannot be true.

    That is: not an object, a count that is negative, no whole number or a string, or no token of a
    prompt. Details that cannot be true are left out.
    """
    if not isinstance(value, dict):
        return None
    if any(name in value and _is_wrong(value[name]) for name in (*_INPUT, *_OUTPUT)):
        return None
    prompt = _find(value, _INPUT)
    answer = _find(value, _OUTPUT)
    total = _read_count(value.get("total_tokens"))
    if prompt and answer is None and total:
        answer = max(0, total - prompt)
    if not prompt:
        return None
    reasoning = _find_detail(value, _OUTPUT, "reasoning_tokens") or _find(
        value, ("reasoning_tokens",)
    )
    if reasoning and total == prompt + (answer or 0) + reasoning:
        answer = (answer or 0) + reasoning  # xAI counts reasoning beside the answer
    cached = _find_detail(value, _INPUT, "cached_tokens") or _find(
        value, ("prompt_cache_hit_tokens", "cached_tokens")
    )
    return Usage(
        input_tokens=prompt,
        output_tokens=answer or 0,
        cached_tokens=min(cached or 0, prompt),
        reasoning_tokens=reasoning or 0,
        image_tokens=min(_find_detail(value, _INPUT, "image_tokens") or 0, prompt),
    )


def _read_count(value: Any) -> int | None:
    """Return a number of tokens; None for anything else."""
    if type(value) is float and value.is_integer():
        value = int(value)
    return value if type(value) is int and 0 <= value <= _MAX_TOKENS else None


def _is_wrong(value: Any) -> bool:
    return value is not None and _read_count(value) is None


def _find(fields: dict[str, Any], names: tuple[str, ...]) -> int | None:
    return next((n for name in names if (n := _read_count(fields.get(name))) is not None), None)


def _find_detail(fields: dict[str, Any], names: tuple[str, ...], detail: str) -> int | None:
    details = (fields.get(f"{name}_details") for name in names)
    return next((_find(each, (detail,)) for each in details if isinstance(each, dict)), None)
