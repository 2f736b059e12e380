"""What was said before in a conversation, as the models are to see it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import takewhile

from service.domain import Message, RunRequest
from service.errors import FieldError, RequestError
from service.messages import build_answer, drop_unmatched_calls, restore_question
from service.store.records import StoredRun
from service.store.runs import RunStore


async def in_context(
    ask: RunRequest, tables: RunStore, exchanges: int, before: str | None = None
) -> tuple[RunRequest, Sequence[Message]]:
    """Return `ask` with the last `exchanges` of its conversation in front of the question.

    Also returns the turns that the caller brought along and that are to be kept: those of a
    conversation that is not known yet. `before` leaves out that run and those after it. Raises
    RequestError 400 when a tool's result and its call do not belong together.
    """
    *brought, question = ask.messages
    if ask.continues:
        runs = await _answered(ask, tables, exchanges, before)
        stored = await tables.list_initial_messages(ask.owner, ask.conversation_id)
        if runs or stored:
            if ask.appends:
                ask, brought = _led_up_to(ask, brought), []
            elif question.role == "tool":  # the results of one round come together
                ask = _led_up_to(ask, _last_results(brought))
            told = lineage(runs, ask.particulars.follows)
            known = last_exchanges([*stored, *turns_of(told)], exchanges)
            return _asked(_keeping_instructions(ask, brought), known, question), []
    earlier = brought if ask.whole_context else last_exchanges(brought, exchanges)
    return _asked(ask, earlier, question, earlier), brought


def lineage(runs: Sequence[StoredRun], last: str) -> Sequence[StoredRun]:
    """Return those of a conversation's runs that led to the run `last`, it included.

    Of questions that go on from one answer side by side, each knows nothing of the others. All
    when `last` is empty. `runs` are oldest first.
    """
    kept: list[StoredRun] = []
    for run in reversed(runs):
        if not last or run.id <= last:  # one without an answer is not among them
            kept.append(run)
            last = run.particulars.follows
    return kept[::-1]


async def _answered(
    ask: RunRequest, tables: RunStore, exchanges: int, before: str | None
) -> Sequence[StoredRun]:
    """Return the runs of the last exchanges: with a tool's result, what it was called for too."""
    limit = exchanges
    while True:
        runs = await tables.list_exchanges(ask.owner, ask.conversation_id, limit, before)
        if len(runs) < limit or not runs or _question(runs[0]).role != "tool":
            return runs
        limit *= 2


def _last_results(messages: Sequence[Message]) -> Sequence[Message]:
    return [*takewhile(lambda it: it.role == "tool", reversed(messages))][::-1]


def _led_up_to(ask: RunRequest, turns: Sequence[Message]) -> RunRequest:
    return replace(ask, particulars=replace(ask.particulars, preceding=tuple(turns)))


def _keeping_instructions(ask: RunRequest, brought: Iterable[Message]) -> RunRequest:
    """Return `ask` with what the caller told the models, though its other turns are known."""
    told = [each.content for each in brought if each.role == "system"]
    if not told:
        return ask
    instructions = "\n\n".join(filter(None, [ask.particulars.instructions, *told]))
    return replace(ask, particulars=replace(ask.particulars, instructions=instructions))


def _asked(
    ask: RunRequest, earlier: Sequence[Message], question: Message, brought: Sequence[Message] = ()
) -> RunRequest:
    """Return `ask` with `earlier` turns, of which the caller has said `brought` just now."""
    told = Message("system", ask.particulars.instructions)
    first = [told] if told.content and told not in earlier else []
    said = (*ask.particulars.preceding, question)
    messages = _matched((*first, *earlier, *said), (*brought, *said))
    return replace(ask, messages=tuple(messages))


def _matched(messages: Sequence[Message], required: Sequence[Message]) -> Sequence[Message]:
    try:
        return drop_unmatched_calls(messages, required)
    except ValueError as error:
        fault = FieldError("messages", str(error))
        sentence = f"The request does not fit: {fault.field}: {fault.message}."
        raise RequestError("bad_request", sentence, [fault]) from error


def last_exchanges(messages: Sequence[Message], count: int) -> Sequence[Message]:
    """Return the last `count` questions with their answers, and any instructions of the system."""
    questions = [n for n, message in enumerate(messages) if message.role == "user"]
    if len(questions) <= count:
        return messages
    start = questions[-count] if count else len(messages)
    system = [message for message in messages[:start] if message.role == "system"]
    return [*system, *messages[start:]]


def turns_of(runs: Sequence[StoredRun]) -> list[Message]:
    """Return what was said in `runs`, the questions with what led up to them."""
    turns: list[Message] = []
    for run in runs:
        answer = build_answer(run.answer, run.tool_calls)
        turns += [*run.particulars.preceding, _question(run), answer]
    return turns


def _question(run: StoredRun) -> Message:
    return restore_question(run.question, run.raw)
