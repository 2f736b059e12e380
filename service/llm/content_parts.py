"""Content parts of messages (images, audio, files) and the agents that accept them.

Parts are passed on in OpenAI's format to the agents that accept their type.
Source: https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from service.domain import Message
from service.ensembles.catalog import Agent
from service.llm.requests.message_order import join_system_messages
from service.messages import list_content_parts, replace_content_parts


def list_part_types(messages: Iterable[Message]) -> set[str]:
    """Return the types of the parts in `messages` that are not text."""
    return {str(part["type"]) for each in messages for part in list_content_parts(each)} - {"text"}


def accepts(agent: Agent, types: Collection[str]) -> bool:
    """Return whether `agent` accepts parts of all `types`; without a setting it accepts any."""
    return agent.content_parts is None or set(types) <= set(agent.content_parts)


def adapt_messages(agent: Agent, messages: Sequence[Message]) -> Sequence[Message]:
    """Return the messages for `agent`: one of the system, then `messages` with accepted parts.

    The first starts with the agent's prompt. A note in words replaces each part that the agent does
    not accept.
    """
    if agent.content_parts is not None:
        messages = [_replace_parts(each, agent.content_parts) for each in messages]
    if agent.prompt:
        messages = [Message("system", agent.prompt), *messages]
    return join_system_messages(messages)


def _replace_parts(message: Message, types: Sequence[str]) -> Message:
    parts = list_content_parts(message)
    kept = [each if each["type"] in ("text", *types) else _make_note(each) for each in parts]
    return message if kept == parts else replace_content_parts(message, kept)


def _make_note(part: dict[str, Any]) -> dict[str, Any]:
    return {"type": "text", "text": f"[{part['type']} left out: you take none]"}
