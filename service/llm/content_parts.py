"""Parts of a message that are no text: images, sounds, files.

They are passed on as OpenAI's chat messages have them, to the agents that take them.
Source: https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from service.domain import Message
from service.ensembles.catalog import Agent


def kinds_of(messages: Iterable[Message]) -> set[str]:
    """Return the types of the parts in `messages` that are no text."""
    return {str(part["type"]) for each in messages for part in _parts(each)} - {"text"}


def takes(agent: Agent, kinds: Collection[str]) -> bool:
    """Return whether `agent` is to be given parts of these types. Unless told, all are."""
    return agent.content_parts is None or set(kinds) <= set(agent.content_parts)


def taken_by(agent: Agent, messages: Sequence[Message]) -> Sequence[Message]:
    """Return what `agent` is told: its prompt, and `messages` as far as it takes their parts."""
    if agent.content_parts is not None:
        messages = [_taken(each, agent.content_parts) for each in messages]
    return [Message("system", agent.prompt), *messages] if agent.prompt else messages


def _taken(message: Message, kinds: Sequence[str]) -> Message:
    parts = _parts(message)
    kept = [each if each["type"] in ("text", *kinds) else _left_out(each) for each in parts]
    if kept == parts:
        return message
    whole = {**msgspec.json.decode(message.whole or "{}"), "content": kept}
    return replace(message, whole=msgspec.json.encode(whole).decode())


def _left_out(part: dict[str, Any]) -> dict[str, Any]:
    return {"type": "text", "text": f"[{part['type']} left out: you take none]"}


def _parts(message: Message) -> list[dict[str, Any]]:
    if message.whole is None:
        return []
    content = msgspec.json.decode(message.whole).get("content")
    return content if isinstance(content, list) else []
