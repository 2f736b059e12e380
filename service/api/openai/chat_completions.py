"""`/v1/chat/completions` and `/v1/models`: OpenAI's Chat Completions API.

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
from service.api.http.frames import DONE, encode_event
from service.api.http.principal import current_principal
from service.api.http.sse import StreamFormat
from service.api.limits.requests import start_run
from service.api.openai.chunks import build_completion, make_encoder
from service.api.openai.request import CompletionRequest
from service.api.openai.schemas import ChunkShown, CompletionShown, ModelShown, ModelsShown
from service.api.openapi.components import OpenAIProblem
from service.api.openapi.operation import EVENTS, IDEMPOTENCY_KEY, Operation, ResponseSpec, Tag
from service.api.runs.event_json import fields_of
from service.ensembles.catalog import Catalog
from service.errors import FieldError, RequestError
from service.events import AgentDelta, AgentReasoning, AnswerDelta, AnswerReasoning, AnswerToolCall
from service.runs.run import Run
from service.runs.runs import Runs

# OpenAI's SDKs fail on a blank line, an event name or an id without data, so a keep-alive is a
# comment.
FORM = StreamFormat(EVENTS, b": ping\n")


# Events whose content is in the answer or in its chunks.
_WITHOUT_PROGRESS = (AgentDelta, AgentReasoning, AnswerDelta, AnswerReasoning, AnswerToolCall)


def install(app: Quart, api: ApiDependencies) -> None:
    """Add `/v1/chat/completions` and `/v1/models` to `app`."""
    runs, catalog = api.runs, api.catalog
    created = int(time.time())

    @app.post("/v1/chat/completions")
    @Operation(
        "Create a chat completion",
        tag=Tag.OPENAI,
        scope="run",
        body=CompletionRequest,
        example={"model": "fanout", "messages": [{"role": "user", "content": "Explain tides"}]},
        parameters=(IDEMPOTENCY_KEY,),
        answers=(
            ResponseSpec("The chat completion.", CompletionShown, of_run=True),
            ResponseSpec(
                "With `stream: true`: an event for each chunk, then `[DONE]`.",
                ChunkShown | OpenAIProblem,
                media=EVENTS,
                of_run=True,
                closing="[DONE]",
            ),
        ),
        errors=(404, 409, 502, 504),
        use="run",
    )
    async def complete() -> Response:
        body = await read_body(CompletionRequest)
        check_model(body.model, catalog())
        run = await start_run(
            runs,
            body.to_request(current_principal()),
            idempotency_key(body, "stream", "stream_options"),
        )
        if not body.stream:
            return await _send_completion(runs, run, with_progress=bool(body.include_progress))
        await wait_for_first_output(runs, run)
        usage, progress = body.wants_usage, bool(body.include_progress)
        encode = make_encoder(run, encode_event, DONE, usage=usage, progress=progress)
        return sse.stream(runs, run, encode, form=FORM)

    @app.get("/v1/models")
    @Operation(
        "List the models",
        tag=Tag.OPENAI,
        scope="authenticated",
        answers=(
            ResponseSpec("The ensembles, and each agent alone as `agent/<name>`.", ModelsShown),
        ),
    )
    async def list_models() -> Response:
        models = [_describe_model(name, created) for name in _list_names(catalog())]
        return jsonify({"object": "list", "data": models})

    @app.get("/v1/models/<path:model>")
    @Operation(
        "Get a model",
        tag=Tag.OPENAI,
        scope="authenticated",
        answers=(ResponseSpec("The model.", ModelShown),),
    )
    async def show_model(model: str) -> Response:
        check_model(model, catalog())
        return jsonify(_describe_model(model, created))


def check_model(name: str, catalog: Catalog) -> None:
    """Raise RequestError 404 with OpenAI's code unless `name` is a model."""
    if name not in _list_names(catalog):
        fault = FieldError("model", "there is no model of that name")
        shown = name.encode("ascii", "backslashreplace").decode()
        sentence = f"The model `{shown}` does not exist; GET /v1/models lists the models."
        raise RequestError("model_not_found", sentence, [fault])


async def _send_completion(runs: Runs, run: Run, *, with_progress: bool) -> Response:
    body = build_completion(run, await collect_answer(runs, run))
    if with_progress:
        body["progress"] = _list_progress(run)
    return sse.run_json(run, body)


def _list_progress(run: Run) -> list[dict[str, Any]]:
    return [
        fields_of(seq, event)
        for seq, event in run.log.numbered()
        if not isinstance(event, _WITHOUT_PROGRESS)
    ]


def _list_names(catalog: Catalog) -> list[str]:
    return [*catalog.ensembles, *catalog.single_agents]


def _describe_model(name: str, created: int) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": created, "owned_by": "llm-sse-service"}
