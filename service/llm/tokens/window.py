"""What a model is told of a conversation: as many of its last exchanges as the window has room for.

Knows messages and token counts, not who is asked.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from service.domain import Message

# What surrounds each message: its role and separators.
# Source: cookbook.openai.com, "How to count tokens with tiktoken" (3, and 3 before the answer).
MESSAGE_TOKENS = 4

Count = Callable[[Sequence[str]], Awaitable[Sequence[int]]]


async def trim_history(messages: Sequence[Message], room: int, count: Count) -> Sequence[Message]:
    """Return `messages` without the oldest exchanges that do not fit into `room` tokens.

    `count` is asked only when there is something to drop and it might have to be: it takes a
    long conversation to cost anything.
    """
    if not _has_history(messages) or estimate_max_tokens(messages) <= room:
        return messages
    return drop_oldest_exchanges(messages, await count([each.content for each in messages]), room)


def drop_oldest_exchanges(
    messages: Sequence[Message], counts: Sequence[int], room: int
) -> Sequence[Message]:
    """Return the system's messages, the question (the last), and the latest exchanges that fit.

    `counts` holds the tokens of each message's text. An exchange stays or goes as a whole; once
    one does not fit, all older ones go too. A question that is too long by itself is kept: the
    model's server decides, and its refusal is the truth.
    """
    sizes = [tokens + MESSAGE_TOKENS for tokens in counts]
    kept = {at for at, each in enumerate(messages) if each.role == "system"} | {len(messages) - 1}
    exchanges = _group_exchanges(messages)
    if messages[-1].role == "tool" and exchanges:  # a result makes no sense without its call
        kept.update(exchanges.pop())
    left = room - sum(sizes[at] for at in kept)
    for exchange in reversed(exchanges):
        left -= sum(sizes[at] for at in exchange)
        if left < 0:
            break
        kept.update(exchange)
    return [each for at, each in enumerate(messages) if at in kept]


def estimate_max_tokens(messages: Sequence[Message]) -> int:
    """Return what `messages` can be at most, without counting: a token is at least one byte."""
    return sum(_count_bytes(each.content) + MESSAGE_TOKENS for each in messages)


def _count_bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _has_history(messages: Sequence[Message]) -> bool:
    return any(each.role != "system" for each in messages[:-1])


def _group_exchanges(messages: Sequence[Message]) -> list[list[int]]:
    """Return where the turns before the question are, a list for each question with its answer."""
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
