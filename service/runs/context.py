"""What was said before in a conversation, as the models are to see it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from service.domain import Ask, Message
from service.store.records import StoredRun
from service.store.run_tables import Runs as RunTables


async def in_context(
    ask: Ask, tables: RunTables, exchanges: int, before: str | None = None
) -> tuple[Ask, Sequence[Message]]:
    """Return `ask` with the last `exchanges` of its conversation in front of the question.

    Also returns the turns that the caller brought along and that are to be kept: those of a
    conversation that is not known yet. `before` leaves out that run and those after it.
    """
    *brought, question = ask.messages
    earlier: Sequence[Message] = brought
    if ask.continues:
        runs = await tables.exchanges(ask.owner, ask.conversation_id, exchanges, before)
        stored = await tables.brought(ask.owner, ask.conversation_id)
        if runs or stored:
            earlier, brought = [*stored, *_turns(runs)], []
    return replace(ask, messages=(*last_exchanges(earlier, exchanges), question)), brought


def last_exchanges(messages: Sequence[Message], count: int) -> Sequence[Message]:
    """Return the last `count` questions with their answers, and any instructions of the system."""
    questions = [n for n, message in enumerate(messages) if message.role == "user"]
    if len(questions) <= count:
        return messages
    start = questions[-count] if count else len(messages)
    system = [message for message in messages[:start] if message.role == "system"]
    return [*system, *messages[start:]]


def _turns(runs: Sequence[StoredRun]) -> list[Message]:
    turns: list[Message] = []
    for run in runs:
        turns += [Message("user", run.question), Message("assistant", run.answer)]
    return turns
