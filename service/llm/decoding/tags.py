"""Tags of reasoning in an answer's text: their names, and their search in text. Sans-IO."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final

_HARMONY_END: Final = "<|end|><|start|>assistant<|channel|>final<|message|>"  # gpt-oss
# Opening and closing tags, in lower case.
TAGS: Final = {
    "<think>": "</think>",  # DeepSeek, Qwen, GLM, MiniMax, Nemotron, Phi, SmolLM, Hunyuan
    "<thinking>": "</thinking>",
    "<thought>": "</thought>",  # Gemini, EXAONE
    "<thoughts>": "</thoughts>",
    "<reasoning>": "</reasoning>",
    "<reflection>": "</reflection>",
    "<longcat_think>": "</longcat_think>",  # LongCat
    "<seed:think>": "</seed:think>",  # Seed-OSS
    "<|begin_of_thought|>": "<|end_of_thought|>",  # OpenThinker, Sky-T1
    "[think]": "[/think]",  # Magistral
    "◁think▷": "◁/think▷",  # Kimi-VL
    "<|start_thinking|>": "<|end_thinking|>",  # Command
    "<|inner_prefix|>": "<|inner_suffix|>",  # Apertus
    "<|channel|>analysis<|message|>": _HARMONY_END,
    "<|start|>assistant<|channel|>analysis<|message|>": _HARMONY_END,
}
# With attributes, or empty; the last group is missing while the tag is incomplete.
WITH_ATTRIBUTES: Final = re.compile(
    r"<(think|thinking|thoughts?|reasoning|reflection)(?:\s[^<>]{0,256}|/)(>?)", re.IGNORECASE
)
BLOCK: Final = re.compile(r"<(think|thinking|thought|reasoning)>|\[(think)\]", re.IGNORECASE)
_BLOCK_TAGS: Final = ("<think>", "<thinking>", "<thought>", "<reasoning>", "[think]")
CLOSING_TAGS: Final = ("</think>", "</thinking>", "</thought>", "</seed:think>", "[/think]")
# Tags that the end of a text may start, by whether closing and opening ones count.
PENDING_TAGS: Final[Mapping[tuple[bool, bool], Sequence[str]]] = {
    (False, False): (),
    (False, True): _BLOCK_TAGS,
    (True, False): CLOSING_TAGS,
    (True, True): (*CLOSING_TAGS, *_BLOCK_TAGS),
}
LONGEST: Final = max(map(len, [*TAGS, *TAGS.values()]))
_FIRST_CHARS: Final = frozenset(tag[0] for tag in [*TAGS, *TAGS.values(), *CLOSING_TAGS])


def find_tag(text: str, tags: Sequence[str]) -> tuple[int, str]:
    """Return the place of the first of `tags` in `text`, and the tag; (0, "") without one."""
    found = _compile(tuple(tags)).search(text)
    return (found.start(), found[0]) if found else (0, "")


@lru_cache(maxsize=32)
def _compile(tags: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, tags)), re.IGNORECASE)


def count_pending(text: str, tags: Sequence[str]) -> int:
    """Return the number of characters at the end of `text` that may be the start of a tag."""
    end = text[-LONGEST:].lower()
    if _FIRST_CHARS.isdisjoint(end):  # nearly always
        return 0
    lengths = range(min(len(end), max(map(len, tags), default=1) - 1), 0, -1)
    return next((n for n in lengths if any(tag.startswith(end[-n:]) for tag in tags)), 0)
