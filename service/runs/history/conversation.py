"""The history of a question: the messages that its models receive before it.

Applies the `History` that an API chose for a request to the stored conversation. Knows turns and
exchanges; how many fit into a model's window is decided in `service.llm.tokens.window`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

from service.conversation import Branch, Continue, NewConversation
from service.domain import Message, RunRequest
from service.errors import FieldError, RequestError
from service.messages import build_answer, drop_unmatched_calls, restore_question
from service.store.records import StoredRun
from service.store.runs import RunStore


@dataclass(frozen=True, slots=True)
class Context:
    """A request with all messages that its models receive, and those of them to store.

    `initial_messages` are stored with a conversation that starts, `preceding` with the run.
    """

    request: RunRequest
    initial_messages: Sequence[Message] = ()
    preceding: Sequence[Message] = ()


async def apply_history(
    request: RunRequest, store: RunStore, exchanges: int, before: str | None = None
) -> Context:
    """Return `request` with its history: of stored turns the last `exchanges`.

    `before` leaves out that run and later ones. Raises RequestError 400 for a tool call without
    its result or a result without its call, and StorageUnavailable.
    """
    *given, question = request.messages
    history = request.history
    if isinstance(history, Continue | Branch):
        stored = await _read_stored_turns(request, store, exchanges, before)
        if stored is not None:
            return _continue(request, stored)
    is_limited = isinstance(history, NewConversation) or (
        isinstance(history, Continue) and not history.is_complete
    )
    earlier = select_last_exchanges(given, exchanges) if is_limited else given
    required = (*earlier, question)
    request = _with_messages(request, earlier, (question,), required)
    return Context(request, initial_messages=given)


def _continue(request: RunRequest, stored: Sequence[Message]) -> Context:
    *given, question = request.messages
    if isinstance(request.history, Branch):
        preceding: Sequence[Message] = given
    else:
        preceding = _select_last_results(given) if question.role == "tool" else ()
        request = _add_instructions(request, given)
    latest = (*preceding, question)
    return Context(_with_messages(request, stored, latest, latest), preceding=tuple(preceding))


def select_lineage(runs: Sequence[StoredRun], last: str) -> Sequence[StoredRun]:
    """Return those of a conversation's runs that led to the run `last`, which is included.

    Questions that branch from the same answer are not part of each other's history. All runs when
    `last` is empty. `runs` are ordered from the oldest.
    """
    selected: list[StoredRun] = []
    for run in reversed(runs):
        if not last or run.id <= last:  # `last` is not among them if it has no answer
            selected.append(run)
            last = run.follows
    return selected[::-1]


async def _read_stored_turns(
    request: RunRequest, store: RunStore, exchanges: int, before: str | None
) -> Sequence[Message] | None:
    """Return the stored turns of the last exchanges; None when nothing is stored."""
    runs = await _list_runs(request, store, exchanges, before)
    initial = await store.list_initial_messages(request.owner, request.conversation_id)
    if not (runs or initial):
        return None
    after = request.history.after if isinstance(request.history, Branch) else ""
    return select_last_exchanges([*initial, *list_turns(select_lineage(runs, after))], exchanges)


async def _list_runs(
    request: RunRequest, store: RunStore, exchanges: int, before: str | None
) -> Sequence[StoredRun]:
    """Return the runs of the last exchanges, each tool result with the run that called for it."""
    limit = exchanges
    while True:
        runs = await store.list_exchanges(request.owner, request.conversation_id, limit, before)
        if len(runs) < limit or not runs or _restore_question(runs[0]).role != "tool":
            return runs
        limit *= 2


def _select_last_results(messages: Sequence[Message]) -> Sequence[Message]:
    return [*takewhile(lambda each: each.role == "tool", reversed(messages))][::-1]


def _add_instructions(request: RunRequest, given: Iterable[Message]) -> RunRequest:
    """Return `request` with the system messages of `given` as instructions."""
    texts = [each.content for each in given if each.role == "system"]
    if not texts:
        return request
    instructions = "\n\n".join(filter(None, [request.options.instructions, *texts]))
    return replace(request, options=replace(request.options, instructions=instructions))


def _with_messages(
    request: RunRequest,
    earlier: Sequence[Message],
    latest: Sequence[Message],
    required: Sequence[Message],
) -> RunRequest:
    """Return `request` with its instructions, `earlier` turns and the `latest` as messages.

    `required` are those of the request itself, none of which may be dropped.
    """
    instructions = Message("system", request.options.instructions)
    is_new = instructions.content and instructions not in earlier
    messages = (*([instructions] if is_new else []), *earlier, *latest)
    return replace(request, messages=tuple(_match_calls(messages, required)))


def _match_calls(messages: Sequence[Message], required: Sequence[Message]) -> Sequence[Message]:
    try:
        return drop_unmatched_calls(messages, required)
    except ValueError as error:
        fault = FieldError("messages", str(error))
        sentence = f"The request is not valid: {fault.field}: {fault.message}."
        raise RequestError("bad_request", sentence, [fault]) from error


def select_last_exchanges(messages: Sequence[Message], count: int) -> Sequence[Message]:
    """Return the last `count` questions with their answers, and all messages of the system."""
    questions = [n for n, message in enumerate(messages) if message.role == "user"]
    if len(questions) <= count:
        return messages
    start = questions[-count] if count else len(messages)
    system = [message for message in messages[:start] if message.role == "system"]
    return [*system, *messages[start:]]


def list_turns(runs: Sequence[StoredRun]) -> list[Message]:
    """Return the turns of `runs`: the messages that precede each question, it, and its answer."""
    turns: list[Message] = []
    for run in runs:
        answer = build_answer(run.answer, run.tool_calls)
        turns += [*run.preceding, _restore_question(run), answer]
    return turns


def _restore_question(run: StoredRun) -> Message:
    return restore_question(run.question, run.raw)
