"""What a response goes on from: the conversation of an earlier one, or a branch of it."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from service.api.http.query import may_be_id
from service.api.openai.responses.items import Reference, sent_back
from service.api.openai.responses.request import ResponseRequest
from service.api.openai.responses.response import kept_object
from service.domain import Message, RunRequest
from service.errors import FieldError, RequestError
from service.ids import new_id
from service.runs.history.conversation import lineage, turns_of
from service.runs.run import Run
from service.runs.runs import Runs
from service.store.records import StoredRun
from service.store.runs import RunStore

_PARAM = "previous_response_id"
_ALL_RUNS = 100_000  # of one conversation
_ITEM = re.compile(r"(?:msg|fc)_([0-9a-f]{32})(?:_\d+)?")


def run_id_of(response_id: str) -> str | None:
    """Return the run that a response is; None when it cannot be the id of one."""
    if not response_id.startswith("resp_") or not may_be_id(response_id):
        return None
    return f"run_{response_id.removeprefix('resp_')}"


async def following(ask: RunRequest, previous_id: str, runs: Runs, tables: RunStore) -> RunRequest:
    """Return `ask` as one that goes on from an earlier response.

    In its conversation, when nothing was asked there since; else in one of its own, which begins
    with what was said up to that response. Raises RequestError 400, 409 while it is running.
    """
    previous = await _find(ask, previous_id, runs)
    if await tables.find_latest_run_id(ask.owner, previous.conversation_id) == previous.id:
        particulars = replace(ask.particulars, follows=previous.id)
        conversation_id = previous.conversation_id
        return replace(
            ask, conversation_id=conversation_id, continues=True, particulars=particulars
        )
    before = await _said(ask.owner, previous, tables)
    return replace(ask, conversation_id=new_id("conv"), messages=(*before, *ask.messages))


async def resolved(body: ResponseRequest, caller: str, tables: RunStore) -> ResponseRequest:
    """Return `body` with items in place of references to them. Raises RequestError 400."""
    if isinstance(body.input, str) or not any(isinstance(each, Reference) for each in body.input):
        return body
    items: list[Any] = []
    for at, each in enumerate(body.input):
        if isinstance(each, Reference):
            items.append(await _item(each.id, at, caller, tables))
        else:
            items.append(each)
    return body.replace_items(items)


async def _item(item_id: str, at: int, caller: str, tables: RunStore) -> Any:
    digits = _ITEM.fullmatch(item_id)
    run = await tables.get(caller, f"run_{digits[1]}") if digits else None
    for item in kept_object(run, ())["output"] if run else ():
        if item["id"] == item_id:
            return sent_back(item)
    shown = item_id.encode("ascii", "backslashreplace").decode()[:128]
    fault = FieldError(f"input.{at}.id", "there is no such item")
    raise RequestError("item_not_found", f"Item with id '{shown}' not found.", [fault])


async def _find(ask: RunRequest, previous_id: str, runs: Runs) -> Run | StoredRun:
    run_id = run_id_of(previous_id)
    try:
        if run_id is None:
            raise _missing(previous_id)
        previous = await runs.get(run_id, ask.owner)
    except RequestError as error:
        raise _missing(previous_id) from error
    if isinstance(previous, Run) and not previous.log.finished:
        fault = FieldError(_PARAM, "that response is still being made")
        sentence = "The previous response is still being made; wait for its end, or cancel it."
        raise RequestError("previous_response_in_progress", sentence, [fault])
    return previous


async def _said(owner: str, last: Run | StoredRun, tables: RunStore) -> list[Message]:
    """Return what was said in a conversation, up to a run and with its answer."""
    conversation_id = last.conversation_id
    answered = await tables.list_exchanges(owner, conversation_id, _ALL_RUNS)
    brought = await tables.list_initial_messages(owner, conversation_id)
    return [*brought, *turns_of(lineage(answered, last.id))]


def _missing(previous_id: str) -> RequestError:
    shown = previous_id.encode("ascii", "backslashreplace").decode()[:128]
    fault = FieldError(_PARAM, "there is no such response")
    sentence = f"Previous response with id '{shown}' not found."
    return RequestError("previous_response_not_found", sentence, [fault])
