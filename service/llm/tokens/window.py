"""Trims a conversation to the context window of a model: drops the oldest exchanges.

Works on messages and token counts; independent of agents and models.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from service.domain import Message

# The overhead of a message: its role and separators.
# Source: cookbook.openai.com, "How to count tokens with tiktoken" (3, and 3 before the answer).
MESSAGE_TOKENS = 4

Count = Callable[[Sequence[str]], Awaitable[Sequence[int]]]


async def trim_history(
    messages: Sequence[Message], room: int, count: Count, ratio: float = 1.0
) -> Sequence[Message]:
    """Return `messages` without the oldest exchanges that do not fit into `room` tokens.

    Calls `count` only if there is an exchange to drop and the upper estimate exceeds `room`, so
    short conversations cost nothing. A `ratio` above 1 is that by which the server counts more.
    """
    if not has_history(messages) or estimate_max_tokens(messages) * max(1.0, ratio) <= room:
        return messages
    return drop_oldest_exchanges(messages, await count([each.content for each in messages]), room)


def drop_oldest_exchanges(
    messages: Sequence[Message], counts: Sequence[int], room: int
) -> Sequence[Message]:
    """Return the system messages, the question (the last message) and the latest fitting exchanges.

    `counts` holds the tokens of each message's text. An exchange stays or is dropped completely,
    and all older ones with it. A question is retained even if it does not fit: the model's server
    decides whether to refuse it.
    """
    sizes = [tokens + MESSAGE_TOKENS for tokens in counts]
    retained = {at for at, each in enumerate(messages) if each.role == "system"} | {
        len(messages) - 1
    }
    exchanges = _group_exchanges(messages)
    if messages[-1].role == "tool" and exchanges:  # a result makes no sense without its call
        retained.update(exchanges.pop())
    left = room - sum(sizes[at] for at in retained)
    for exchange in reversed(exchanges):
        left -= sum(sizes[at] for at in exchange)
        if left < 0:
            break
        retained.update(exchange)
    return [each for at, each in enumerate(messages) if at in retained]


def estimate_max_tokens(messages: Sequence[Message]) -> int:
    """Return an upper limit of tokens without counting: a token has at least one byte."""
    return sum(_count_bytes(each.content) + MESSAGE_TOKENS for each in messages)


def _count_bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def has_history(messages: Sequence[Message]) -> bool:
    """Return whether there are turns before the question."""
    return any(each.role != "system" for each in messages[:-1])


def _group_exchanges(messages: Sequence[Message]) -> list[list[int]]:
    """Return the indexes of the turns before the question, a list for each exchange."""
    exchanges: list[list[int]] = []
    before = "assistant"
    for at, each in enumerate(messages[:-1]):
        if each.role == "system":
            continue
        if not exchanges or (each.role == "user" and before == "assistant"):
            exchanges.append([])
        exchanges[-1].append(at)
        before = each.role
    return exchanges
