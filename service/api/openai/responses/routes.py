"""Face E, `/v1/responses`: OpenAI's other API. A response is a run under another name.

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
from service.api.http.query import ChoiceParam, SequenceParam
from service.api.openai.chat_completions import FORM, check_model
from service.api.openai.responses.previous import find_history, resolve_references, run_id_of
from service.api.openai.responses.request import ResponseRequest
from service.api.openai.responses.response import (
    ResponseEvents,
    count_of,
    kept_object,
    response_object,
)
from service.api.openai.responses.schemas import ResponseEvent, ResponseShown
from service.api.openapi.operation import EVENTS, IDEMPOTENCY_KEY, Operation, ResponseSpec, Tag
from service.errors import FieldError, RequestError
from service.runs.run import Run
from service.runs.runs import Runs
from service.store.records import StoredRun


class _After(SequenceParam):
    """A position in a stream whose numbers begin with 0; -1 is before the first."""

    def read(self) -> int:
        return super().read() if self.name in request.args else -1

    def parameter(self) -> dict[str, Any]:
        shown = super().parameter()
        shown["schema"].pop("default")
        return shown


_STREAM = ChoiceParam(
    "stream", "Whether it streams, from the beginning.", ("true", "false"), "false"
)
_AFTER = _After("starting_after", "The `sequence_number` of the last event that was received.")
_WHOLE = ResponseSpec("The response, as far as it goes.", ResponseShown, of_run=True)
_EVENTS = ResponseSpec(
    "Named events; the last is `response.completed`, `.incomplete` or `.failed`.",
    ResponseEvent,
    media=EVENTS,
    of_run=True,
)


def install(app: Quart, api: ApiDependencies) -> None:
    """Add `/v1/responses` to `app`."""
    runs, tables, catalog = api.runs, api.store.runs, api.catalog

    async def shown(found: Run | StoredRun) -> Response:
        if isinstance(found, Run):
            return sse.run_json(found, response_object(found))
        return sse.run_json(
            found, kept_object(found, await tables.list_agent_answers(found.owner, found.id))
        )

    @app.post("/v1/responses")
    @Operation(
        "Ask as OpenAI's responses do",
        tag=Tag.OPENAI,
        description="With `background` the answer is made although nobody waits for it.",
        body=ResponseRequest,
        example={"model": "fanout", "input": "Explain tides"},
        parameters=(IDEMPOTENCY_KEY,),
        answers=(_WHOLE, _EVENTS),
        errors=(404, 409, 502, 504),
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
            run = await runs.start(question, key)
        except RequestError as error:
            raise _renamed(error) from error
        if body.stream:
            if not body.background:
                await wait_for_first_output(runs, run)
            return sse.stream(runs, run, ResponseEvents(run), form=FORM)
        if not body.background:
            await collect_answer(runs, run)
        return await shown(run)

    @app.get("/v1/responses/<response_id>")
    @Operation(
        "A response, or its stream again",
        tag=Tag.OPENAI,
        description="Any run can be read as one: `run_…` is `resp_…`.",
        parameters=(_STREAM, _AFTER),
        answers=(_WHOLE, _EVENTS),
        errors=(410,),
    )
    async def show_response(response_id: str) -> Response:
        stream, position = _STREAM.read(), _AFTER.read()
        found = await _find(runs, response_id)
        if stream == "false":
            return await shown(found)
        run = await runs.find(found.id, current_principal().owner)  # 410 when its events are gone
        after = _position(run, position)
        runs.note_resumed(run)
        return sse.stream(runs, run, ResponseEvents(run, after), form=FORM)

    @app.post("/v1/responses/<response_id>/cancel")
    @Operation("Stop the making of a response", tag=Tag.OPENAI, answers=(_WHOLE,))
    async def cancel_response(response_id: str) -> Response:
        found = await _find(runs, response_id)
        if isinstance(found, Run):
            await runs.cancel(found)
        return await shown(found)


async def _find(runs: Runs, response_id: str) -> Run | StoredRun:
    """Return the run that a response is. Raises RequestError 404."""
    run_id = run_id_of(response_id)
    try:
        if run_id is not None:
            return await runs.get(run_id, current_principal().owner)
    except RequestError as error:
        if error.code != "run_not_found":
            raise
    shown = response_id.encode("ascii", "backslashreplace").decode()[:128]
    raise RequestError("response_not_found", f"Response with id '{shown}' not found.")


def _position(run: Run, after: int) -> int:
    """Return the number behind which a stream goes on. Raises RequestError 400."""
    count = count_of(run) if after >= 0 and run.is_complete else after + 1
    if after < count:
        return after
    if run.was_interrupted:
        return count - 2  # the machine failed: more was shown than is left, and the end is new
    sentence = f"The response has only {count} events so far: there is none of the number {after}."
    raise RequestError("bad_position", sentence, [FieldError("starting_after", sentence)])


_NAMES = {
    "messages": "input",
    "reasoning_effort": "reasoning.effort",
    "response_format": "text.format",
    "verbosity": "text.verbosity",
}


def _renamed(error: RequestError) -> RequestError:
    """Return a refusal with the fields' names as they are here, not in chat completions."""
    details, message = [], error.message
    for fault in error.details:
        name = _NAMES.get(fault.field, fault.field)
        details.append(replace(fault, field=name))
        message = message.replace(f" {fault.field}: ", f" {name}: ", 1)
    return RequestError(error.code, message, details, headers=error.headers)
