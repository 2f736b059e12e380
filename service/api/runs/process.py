"""`POST /api/process`: the fan-out as unnamed server-sent events of ASCII JSON."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from quart import Quart, Response, request

from service.access.principal import Principal
from service.api.dependencies import ApiDependencies
from service.api.http import sse
from service.api.http.body import (
    Body,
    EnsembleName,
    Identifier,
    Label,
    Text,
    Tokens,
    idempotency_key,
    read_body,
)
from service.api.http.principal import current_principal
from service.api.limits.requests import current_admission, start_run
from service.api.openapi.operation import (
    EVENTS,
    IDEMPOTENCY_KEY,
    LAST_EVENT_ID,
    Operation,
    ResponseSpec,
    Tag,
)
from service.api.runs.event_json import encoder
from service.api.runs.runs import NOTHING_MORE, reattach
from service.api.runs.schemas import RunEvent
from service.conversation import continue_or_start
from service.domain import Message, RequestOptions, RunRequest


class ProcessRequest(Body):
    """A question. `message_id` is the caller's label and need not be unique."""

    message: Text
    message_id: Label
    conversation_id: Identifier | None = None
    ensemble: EnsembleName | None = None
    stream_agents: bool = False
    stream_reasoning: bool = False
    max_tokens: Tokens | None = None
    timeout_s: Annotated[float, Field(gt=0, le=86_400)] | None = None

    def to_request(self, principal: Principal) -> RunRequest:
        """Return the question of `principal`."""
        return RunRequest(
            messages=(Message("user", self.message),),
            message_id=self.message_id,
            history=continue_or_start(self.conversation_id),
            ensemble=self.ensemble or "",
            stream_agents=self.stream_agents,
            max_tokens=self.max_tokens,
            timeout_s=self.timeout_s,
            principal=principal,
            options=RequestOptions(reasoning="all" if self.stream_reasoning else "none"),
        )


def install(app: Quart, api: ApiDependencies) -> None:
    """Add `/api/process` to `app`."""
    runs = api.runs

    @app.post("/api/process")
    @Operation(
        "Ask several models at once and stream every step",
        tag=Tag.ASK,
        scope="run",
        description="With `Last-Event-ID` the response resumes that run and the body is ignored.",
        body=ProcessRequest,
        example={"message": "Explain gravity like I am 5", "message_id": "message_123"},
        parameters=(IDEMPOTENCY_KEY, LAST_EVENT_ID),
        answers=(
            ResponseSpec(
                "Unnamed events, the last with `final: true`.", RunEvent, media=EVENTS, of_run=True
            ),
            ResponseSpec(NOTHING_MORE, status=204, of_run=True),
        ),
        errors=(404, 410),
        use="run",
    )
    async def process() -> Response:
        if request.headers.get("Last-Event-ID"):
            await current_admission().attach()
            return await reattach(runs)
        body = await read_body(ProcessRequest)
        run = await start_run(runs, body.to_request(current_principal()), idempotency_key(body))
        return sse.stream(runs, run, encoder(run))
