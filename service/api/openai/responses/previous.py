"""The history of a response: its conversation, an earlier response, and references to items."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from service.api.http.query import is_valid_id
from service.api.openai.responses.items import (
    ReasoningItem,
    Reference,
    parse_output_item,
    to_messages,
)
from service.api.openai.responses.request import ResponseRequest
from service.api.openai.responses.response import build_stored_response
from service.conversation import Branch, Given, History
from service.domain import Message
from service.errors import FieldError, RequestError
from service.runs.history.conversation import list_turns, select_lineage
from service.runs.run import Run
from service.runs.runs import Runs
from service.store.records import StoredRun
from service.store.runs import RunStore

_PARAM = "previous_response_id"
_ALL_RUNS = 100_000  # of one conversation
_ITEM = re.compile(r"(?:msg|fc|rs)_([0-9a-f]{32})(?:_\d+)?")


def get_run_id(response_id: str) -> str | None:
    """Return the id of the run of a response; None when `response_id` cannot be one."""
    if not response_id.startswith("resp_") or not is_valid_id(response_id):
        return None
    return f"run_{response_id.removeprefix('resp_')}"


async def find_history(
    body: ResponseRequest, owner: str, runs: Runs, tables: RunStore
) -> tuple[History, Sequence[Message]]:
    """Return the history of a request, and the messages that precede its own.

    After an earlier response the request continues its conversation, if nothing was asked there
    since; otherwise it starts a conversation with a copy of the turns up to that response.
    Raises RequestError 400, and 409 while that response is in progress.
    """
    if not body.previous_response_id:
        return Branch(body.conversation_id) if body.conversation_id else Given(), ()
    previous = await _find_previous(body.previous_response_id, owner, runs)
    if await tables.find_latest_run_id(owner, previous.conversation_id) == previous.id:
        return Branch(previous.conversation_id, after=previous.id), ()
    return Given(), await _read_turns(owner, previous, tables)


async def resolve_references(
    body: ResponseRequest, owner: str, tables: RunStore
) -> Sequence[Message]:
    """Return the messages of `body`, with items in place of references to them.

    Raises RequestError 400.
    """
    if isinstance(body.input, str) or not any(isinstance(each, Reference) for each in body.input):
        return body.turns
    items: list[Any] = []
    for at, each in enumerate(body.input):
        if isinstance(each, Reference):
            items.append(await _find_item(each.id, at, owner, tables))
        else:
            items.append(each)
    return to_messages(items)


async def _find_item(item_id: str, at: int, owner: str, tables: RunStore) -> Any:
    digits = _ITEM.fullmatch(item_id)
    run = await tables.get(owner, f"run_{digits[1]}") if digits else None
    if run and item_id.startswith("rs_"):  # not stored with the answer, and not sent to models
        return ReasoningItem(type="reasoning")
    for item in build_stored_response(run, ())["output"] if run else ():
        if item["id"] == item_id:
            return parse_output_item(item)
    shown = item_id.encode("ascii", "backslashreplace").decode()[:128]
    fault = FieldError(f"input.{at}.id", "there is no such item")
    raise RequestError("item_not_found", f"Item with id '{shown}' not found.", [fault])


async def _find_previous(previous_id: str, owner: str, runs: Runs) -> Run | StoredRun:
    run_id = get_run_id(previous_id)
    try:
        if run_id is None:
            raise _not_found(previous_id)
        previous = await runs.get(run_id, owner)
    except RequestError as error:
        raise _not_found(previous_id) from error
    if isinstance(previous, Run) and not previous.log.finished:
        fault = FieldError(_PARAM, "that response is still in progress")
        sentence = "The previous response is still in progress; wait for its end, or cancel it."
        raise RequestError("previous_response_in_progress", sentence, [fault])
    return previous


async def _read_turns(owner: str, last: Run | StoredRun, tables: RunStore) -> list[Message]:
    """Return the turns of a conversation up to the run `last`, its answer included."""
    conversation_id = last.conversation_id
    answered = await tables.list_exchanges(owner, conversation_id, _ALL_RUNS)
    initial = await tables.list_initial_messages(owner, conversation_id)
    return [*initial, *list_turns(select_lineage(answered, last.id))]


def _not_found(previous_id: str) -> RequestError:
    shown = previous_id.encode("ascii", "backslashreplace").decode()[:128]
    fault = FieldError(_PARAM, "there is no such response")
    sentence = f"Previous response with id '{shown}' not found."
    return RequestError("previous_response_not_found", sentence, [fault])
