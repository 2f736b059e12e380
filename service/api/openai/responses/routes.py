"""`/v1/responses`: OpenAI's Responses API. A response is a run in OpenAI's format.

Source: https://platform.openai.com/docs/api-reference/responses
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from quart import Quart, Response, request

from service.api.dependencies import ApiDependencies
from service.api.http import sse
from service.api.http.body import idempotency_key, read_body
from service.api.http.collect import collect_answer
from service.api.http.first_output import wait_for_first_output
from service.api.http.principal import current_principal
from service.api.http.query import ChoiceParam, SequenceParam, read_all
from service.api.limits.requests import current_admission, start_run
from service.api.openai.chat_completions import FORM, check_model
from service.api.openai.responses.previous import find_history, get_run_id, resolve_references
from service.api.openai.responses.request import ResponseRequest
from service.api.openai.responses.response import (
    ResponseEvents,
    build_response,
    build_stored_response,
    count_events,
)
from service.api.openai.responses.schemas import ResponseEvent, ResponseShown
from service.api.openapi.operation import EVENTS, IDEMPOTENCY_KEY, Operation, ResponseSpec, Tag
from service.errors import FieldError, RequestError
from service.runs.run import Run
from service.runs.runs import Runs
from service.store.records import StoredRun


class _After(SequenceParam):
    """Parameter for a position in a stream whose events are numbered from 0; -1 is its start."""

    def read(self) -> int:
        return super().read() if self.name in request.args else -1

    def parameter(self) -> dict[str, Any]:
        shown = super().parameter()
        shown["schema"].pop("default")
        return shown


_STREAM = ChoiceParam(
    "stream",
    "Whether to stream the events of the response, from the first one.",
    ("true", "false"),
    "false",
)
_AFTER = _After(
    "starting_after", "The `sequence_number` of the last event that the client received."
)
_WHOLE = ResponseSpec("The response with its output so far.", ResponseShown, of_run=True)
_EVENTS = ResponseSpec(
    "With streaming: named events; the last is `response.completed`, `.incomplete` or `.failed`.",
    ResponseEvent,
    media=EVENTS,
    of_run=True,
)


def install(app: Quart, api: ApiDependencies) -> None:
    """Add `/v1/responses` to `app`."""
    runs, tables, catalog = api.runs, api.store.runs, api.catalog

    async def send_response(found: Run | StoredRun) -> Response:
        if isinstance(found, Run):
            return sse.run_json(found, build_response(found))
        return sse.run_json(
            found,
            build_stored_response(found, await tables.list_agent_answers(found.owner, found.id)),
        )

    @app.post("/v1/responses")
    @Operation(
        "Create a response",
        tag=Tag.OPENAI,
        scope="run",
        description="With `background` the run continues when no client waits for it.",
        body=ResponseRequest,
        example={"model": "fanout", "input": "Explain tides"},
        parameters=(IDEMPOTENCY_KEY,),
        answers=(_WHOLE, _EVENTS),
        errors=(404, 409, 502, 504),
        use="run",
    )
    async def respond() -> Response:
        body = await read_body(ResponseRequest)
        check_model(body.model, catalog())
        key = idempotency_key(body, "stream", "stream_options")
        principal = current_principal()
        messages = await resolve_references(body, principal.owner, tables)
        history, earlier = await find_history(body, principal.owner, runs, tables)
        question = body.to_request(principal, history, (*earlier, *messages))
        try:
            run = await start_run(runs, question, key)
        except RequestError as error:
            raise _rename_fields(error) from error
        if body.stream:
            if not body.background:
                await wait_for_first_output(runs, run)
            return sse.stream(runs, run, ResponseEvents(run), form=FORM)
        if not body.background:
            await collect_answer(runs, run)
        return await send_response(run)

    @app.get("/v1/responses/<response_id>")
    @Operation(
        "Get a response or stream its events again",
        tag=Tag.OPENAI,
        scope="read",
        description="Every run can be read: the run `run_…` is the response `resp_…`.",
        parameters=(_STREAM, _AFTER),
        answers=(_WHOLE, _EVENTS),
        errors=(410,),
    )
    async def show_response(response_id: str) -> Response:
        stream, position = read_all(_STREAM.read, _AFTER.read)
        found = await _find(runs, response_id)
        if stream == "false":
            return await send_response(found)
        await current_admission().attach()
        run = await runs.find(found.id, current_principal().owner)  # 410 when its events are gone
        after = _find_position(run, position)
        runs.note_resumed(run)
        return sse.stream(runs, run, ResponseEvents(run, after), form=FORM)

    @app.post("/v1/responses/<response_id>/cancel")
    @Operation("Cancel a response", tag=Tag.OPENAI, scope="run", answers=(_WHOLE,), use="free")
    async def cancel_response(response_id: str) -> Response:
        found = await _find(runs, response_id)
        if isinstance(found, Run):
            await runs.cancel(found)
        return await send_response(found)


async def _find(runs: Runs, response_id: str) -> Run | StoredRun:
    """Return the run of a response. Raises RequestError 404."""
    run_id = get_run_id(response_id)
    try:
        if run_id is not None:
            return await runs.get(run_id, current_principal().owner)
    except RequestError as error:
        if error.code != "run_not_found":
            raise
    shown = response_id.encode("ascii", "backslashreplace").decode()[:128]
    raise RequestError("response_not_found", f"Response with id '{shown}' not found.")


def _find_position(run: Run, after: int) -> int:
    """Return the number of the event after which a stream continues. Raises RequestError 400."""
    count = count_events(run) if after >= 0 and run.is_complete else after + 1
    if after < count:
        return after
    if run.was_interrupted:
        return count - 2  # a crash lost events that clients received; the final event is new
    sentence = f"The response has only {count} events so far: there is none of the number {after}."
    raise RequestError("bad_position", sentence, [FieldError("starting_after", sentence)])


_NAMES = {
    "messages": "input",
    "reasoning_effort": "reasoning.effort",
    "response_format": "text.format",
    "verbosity": "text.verbosity",
}


def _rename_fields(error: RequestError) -> RequestError:
    """Return a refusal with the names that fields of chat completions have in this API."""
    details, message = [], error.message
    for fault in error.details:
        name = _NAMES.get(fault.field, fault.field)
        details.append(replace(fault, field=name))
        message = message.replace(f" {fault.field}: ", f" {name}: ", 1)
    return RequestError(error.code, message, details, headers=error.headers)
