"""The order and the roles of messages that chat templates of models require. Sans-IO.

Every request has one system message, the first: the templates of many models refuse a second one or
one in the middle. The other two forms are used only after a refusal, because they change the
conversation: some templates have no system role, some require user and assistant in turn.
"""

from __future__ import annotations

from collections.abc import Sequence

from service.domain import Message
from service.messages import has_tool_calls, merge_messages

_FIRST_TURN = Message("user", "(The conversation starts with the assistant.)")


def join_system_messages(messages: Sequence[Message]) -> Sequence[Message]:
    """Return `messages` with the texts of all system messages in one, at the start."""
    system = [each for each in messages if each.role == "system"]
    if not system or (len(system) == 1 and messages[0] is system[0] and system[0].raw is None):
        return messages
    texts = dict.fromkeys(each.content.strip() for each in system)
    text = "\n\n".join(filter(None, texts))
    rest = [each for each in messages if each.role != "system"]
    return [*([Message("system", text)] if text else []), *rest]


def fold_system_message(messages: Sequence[Message]) -> Sequence[Message]:
    """Return `messages` with the system message as the start of the first question."""
    if not messages or messages[0].role != "system":
        return messages
    first, *rest = messages
    text = Message("user", first.content)
    if rest and rest[0].role == "user":
        return [merge_messages(text, rest[0]), *rest[1:]]
    return [text, *rest]


def alternate_roles(messages: Sequence[Message]) -> Sequence[Message]:
    """Return `messages` with consecutive ones of a role joined, starting with the user's."""
    turns: list[Message] = []
    for each in messages:
        last = turns[-1] if turns else None
        if each.role == "assistant" and (last is None or last.role == "system"):
            turns.append(_FIRST_TURN)
        if last and last.role == each.role and _can_merge(last) and _can_merge(each):
            turns[-1] = merge_messages(last, each)
        else:
            turns.append(each)
    return turns


def _can_merge(message: Message) -> bool:
    return message.role in ("user", "assistant") and not has_tool_calls(message)
