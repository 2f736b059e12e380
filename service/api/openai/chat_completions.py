"""Face E, `/v1/chat/completions` and `/v1/models`: OpenAI's own API.

Source: https://platform.openai.com/docs/api-reference/chat
"""

from __future__ import annotations

import time
from typing import Any

from quart import Quart, Response, jsonify

from service.api.dependencies import ApiDependencies
from service.api.http import sse
from service.api.http.body import idempotency_key, read_body
from service.api.http.collect import collect_answer
from service.api.http.first_output import wait_for_first_output
from service.api.http.principal import current_principal
from service.api.http.sse import StreamFormat
from service.api.openai.chunks import DONE, as_data, completion, framed
from service.api.openai.request import CompletionRequest
from service.api.openai.schemas import ChunkShown, CompletionShown, ModelShown, ModelsShown
from service.api.openapi.components import OpenAIProblem
from service.api.openapi.operation import EVENTS, IDEMPOTENCY_KEY, Operation, ResponseSpec, Tag
from service.api.runs.event_json import fields_of
from service.ensembles.catalog import Catalog
from service.errors import FieldError, RequestError
from service.events import AgentDelta, AnswerDelta, AnswerToolCall
from service.runs.run import Run
from service.runs.runs import Runs

# OpenAI's SDKs break on blank lines, event names and ids that stand alone.
FORM = StreamFormat(EVENTS, b": ping\n")


def install(app: Quart, api: ApiDependencies) -> None:
    """Add `/v1/chat/completions` and `/v1/models` to `app`."""
    runs, catalog = api.runs, api.catalog
    created = int(time.time())

    @app.post("/v1/chat/completions")
    @Operation(
        "Ask as OpenAI's chat completions do",
        tag=Tag.OPENAI,
        body=CompletionRequest,
        example={"model": "fanout", "messages": [{"role": "user", "content": "Explain tides"}]},
        parameters=(IDEMPOTENCY_KEY,),
        answers=(
            ResponseSpec("The answer.", CompletionShown, of_run=True),
            ResponseSpec(
                "A chunk an event, then `[DONE]`.",
                ChunkShown | OpenAIProblem,
                media=EVENTS,
                of_run=True,
                closing="[DONE]",
            ),
        ),
        errors=(404, 409, 502, 504),
    )
    async def complete() -> Response:
        body = await read_body(CompletionRequest)
        check_model(body.model, catalog())
        run = await runs.start(
            body.to_request(current_principal()), idempotency_key(body, "stream", "stream_options")
        )
        if not body.stream:
            return await _whole(runs, run, with_progress=bool(body.include_progress))
        await wait_for_first_output(runs, run)
        usage, progress = body.wants_usage, bool(body.include_progress)
        encode = framed(run, as_data, DONE, usage=usage, progress=progress)
        return sse.stream(runs, run, encode, form=FORM)

    @app.get("/v1/models")
    @Operation(
        "List what can be asked",
        tag=Tag.OPENAI,
        answers=(ResponseSpec("Ensembles, and agents alone as `agent/<name>`.", ModelsShown),),
    )
    async def list_models() -> Response:
        models = [_model(name, created) for name in _names(catalog())]
        return jsonify({"object": "list", "data": models})

    @app.get("/v1/models/<path:model>")
    @Operation(
        "Look at one of them", tag=Tag.OPENAI, answers=(ResponseSpec("The model.", ModelShown),)
    )
    async def show_model(model: str) -> Response:
        check_model(model, catalog())
        return jsonify(_model(model, created))


def check_model(name: str, catalog: Catalog) -> None:
    """Raise RequestError 404, as OpenAI has it, unless `name` can be asked."""
    if name not in _names(catalog):
        fault = FieldError("model", "there is none of that name")
        shown = name.encode("ascii", "backslashreplace").decode()
        sentence = f"The model `{shown}` does not exist; GET /v1/models lists those that do."
        raise RequestError("model_not_found", sentence, [fault])


async def _whole(runs: Runs, run: Run, *, with_progress: bool) -> Response:
    shown = completion(run, await collect_answer(runs, run))
    if with_progress:
        shown["progress"] = _progress(run)
    return sse.run_json(run, shown)


def _progress(run: Run) -> list[dict[str, Any]]:
    return [
        fields_of(seq, event)
        for seq, event in enumerate(run.log.after(0), 1)
        if not isinstance(event, AgentDelta | AnswerDelta | AnswerToolCall)
    ]


def _names(catalog: Catalog) -> list[str]:
    return [*catalog.ensembles, *catalog.single_agents]


def _model(name: str, created: int) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": created, "owned_by": "llm-sse-service"}
