"""`POST /api/runs/{id}/resynthesize`: another answer from the stored answers of a run."""

from __future__ import annotations

from quart import Quart, Response

from service.api.dependencies import ApiDependencies
from service.api.http import sse
from service.api.http.body import Body, Identifier, Text, read_body
from service.api.http.principal import current_principal
from service.api.limits.requests import open_run
from service.api.openapi.operation import EVENTS, Operation, ResponseSpec, Tag
from service.api.runs.event_json import encoder
from service.api.runs.schemas import RunEvent
from service.runs.resynthesis import Resynthesis, make_resynthesis


class ResynthesizeRequest(Body):
    """The differences from the run: its ensemble or strategy, its combiner, and the prompt."""

    ensemble: Identifier | None = None
    strategy: Identifier | None = None
    combiner: Identifier | None = None
    prompt: Text | None = None


def install(app: Quart, api: ApiDependencies) -> None:
    """Add the address to `app`."""

    @app.post("/api/runs/<run_id>/resynthesize")
    @Operation(
        "Create another answer from the stored answers of a run",
        tag=Tag.RUNS,
        scope="run",
        description="Starts a new run that calls no agent: only a combiner or a judge.",
        body=ResynthesizeRequest,
        example={"strategy": "synthesize", "prompt": "Combine the answers in one sentence."},
        answers=(
            ResponseSpec(
                "Unnamed events, the last with `final: true`.", RunEvent, media=EVENTS, of_run=True
            ),
        ),
        errors=(409,),
        use="run",
    )
    async def resynthesize_run(run_id: str) -> Response:
        wish = Resynthesis(**(await read_body(ResynthesizeRequest)).model_dump())
        principal = current_principal()
        start = await make_resynthesis(api.store.runs, api.catalog(), principal, run_id, wish)
        run = await open_run(api.runs, start)
        return sse.stream(api.runs, run, encoder(run))
