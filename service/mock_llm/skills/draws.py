"""Random decisions that depend on their key alone, so that a repeated request gets the same one."""

from __future__ import annotations

from random import Random

from service.mock_llm.request import MockRequest
from service.mock_llm.script import Script


def make_random(*key: object) -> Random:
    """Return a generator for a key."""
    return Random("\0".join(map(str, key)))  # noqa: S311  # no secret


def name_speaker(request: MockRequest, script: Script, seed: int) -> str:
    """Return the identity of a caller: seeds, model and system prompt.

    Callers that differ in one of these make independent errors. The seeds of a request and of a
    script count both, so that an agent that is asked several times can differ from itself.
    """
    system = "\n".join(m.text for m in request.messages if m.role in ("system", "developer"))
    return f"{seed} {script.seed} {request.seed} {request.model} {system}"
