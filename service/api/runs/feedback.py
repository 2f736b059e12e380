"""`/api/runs/{id}/feedback`: ratings of the answer of a run and of its agents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field, StringConstraints
from quart import Quart, Response, jsonify
from typing_extensions import TypedDict

from service.api.dependencies import ApiDependencies
from service.api.http.body import Body, Label, Text, invalid_request, read_body
from service.api.http.principal import current_principal
from service.api.http.query import TextParam
from service.api.openapi.operation import Operation, ResponseSpec, Tag
from service.errors import FieldError, RequestError, StorageUnavailable
from service.runs.projections.long_logs import summarize_log
from service.runs.retry import read_run
from service.runs.run import Run
from service.store.feedback.feedback import FeedbackStore
from service.store.feedback.records import Rating, StoredRating, Thumb
from service.store.records import StoredRun

MAX_COMMENT_CHARS = 4_000

_AGENT = TextParam("agent", "The rated agent; by default the answer.", 256, required=False)
_OPINIONS = ("score", "thumb", "comment", "better")


class FeedbackRequest(Body):
    """The opinion about the answer of a run, or with `agent` about that of one agent.

    At least one of `score` (0 to 1), `thumb`, `comment` and `better` is required. `better` is the
    agent whose answer was better than the run's, or than that of `than`.
    """

    agent: Label | None = None
    score: Annotated[float, Field(ge=0, le=1)] | None = None
    thumb: Thumb | None = None
    comment: Annotated[Text, StringConstraints(max_length=MAX_COMMENT_CHARS)] | None = None
    better: Label | None = None
    than: Label | None = None


class RatingShown(TypedDict):
    """A rating: of the answer, or of one agent."""

    agent: NotRequired[str]
    score: NotRequired[float]
    thumb: NotRequired[Literal["up", "down"]]
    comment: NotRequired[str]
    better: NotRequired[str]
    than: NotRequired[str]
    created_at: str
    updated_at: str


class FeedbackList(TypedDict):
    """The ratings of a run: that of its answer first, then those of its agents."""

    items: list[RatingShown]


_LIST = ResponseSpec("The feedback about the run.", FeedbackList)


def install(app: Quart, api: ApiDependencies) -> None:
    """Add `/api/runs/{id}/feedback` to `app`."""
    store = api.store.feedback

    async def respond(owner: str, run_id: str) -> Response:
        return jsonify({"items": await list_ratings(store, owner, run_id)})

    @app.post("/api/runs/<run_id>/feedback")
    @Operation(
        "Rate the answer of a run, or one of its agents",
        tag=Tag.RUNS,
        scope="write",
        description="Replaces the earlier rating of the same answer or agent.",
        body=FeedbackRequest,
        example={"score": 0.8, "comment": "Correct, but too long."},
        answers=(_LIST,),
        errors=(409,),
    )
    async def rate_run(run_id: str) -> Response:
        body = await read_body(FeedbackRequest)
        owner = current_principal().owner
        models = await _read_models(api, await api.runs.get(run_id, owner))
        if faults := [*_find_faults(body, models)]:
            raise invalid_request(faults)
        rating = Rating(
            **{**body.model_dump(), "agent": body.agent or ""},
            model=models.get(body.agent or "", ""),
            better_model=models.get(body.better or "", ""),
        )
        if not await store.put(owner, run_id, rating, datetime.now(UTC)):
            raise RequestError("run_not_found", "There is no such run.")
        api.telemetry.record_feedback(
            "agent" if body.agent else "answer",
            [name for name in _OPINIONS if getattr(body, name) is not None],
        )
        return await respond(owner, run_id)

    @app.get("/api/runs/<run_id>/feedback")
    @Operation("List the feedback about a run", tag=Tag.RUNS, scope="read", answers=(_LIST,))
    async def list_feedback(run_id: str) -> Response:
        run = await read_run(api.store.runs, current_principal().owner, run_id)
        return await respond(run.owner, run.id)

    @app.delete("/api/runs/<run_id>/feedback")
    @Operation(
        "Delete the rating of the answer of a run, or of one of its agents",
        tag=Tag.RUNS,
        scope="write",
        parameters=(_AGENT,),
        answers=(ResponseSpec("The rating is deleted, or there was none.", status=204),),
    )
    async def delete_feedback(run_id: str) -> Response:
        agent = _AGENT.read_optional() or ""
        run = await read_run(api.store.runs, current_principal().owner, run_id)
        await store.delete(run.owner, run.id, agent)
        return Response(status=204)


async def list_ratings(store: FeedbackStore, owner: str, run_id: str) -> list[dict[str, Any]]:
    """Return the ratings of a run as JSON. Raises StorageUnavailable."""
    return [_show(each) for each in await store.list_ratings(owner, run_id)]


async def read_available_ratings(store: FeedbackStore, run: Run) -> dict[str, Any]:
    """Return the field `feedback` of a run in memory, which an outage of the store leaves out."""
    with suppress(StorageUnavailable):
        return {"feedback": await list_ratings(store, run.owner, run.id)}
    return {}


async def _read_models(api: ApiDependencies, run: Run | StoredRun) -> Mapping[str, str]:
    """Return the model of each agent of an ended run, by its name. Raises RequestError 409."""
    if isinstance(run, StoredRun):
        answers = await api.store.runs.list_agent_answers(run.owner, run.id)
        return {each.agent: each.report.model for each in answers}
    now = await summarize_log(run.log)
    if now.state == "running":
        raise RequestError("run_not_finished", "The run has not ended: there is no answer to rate.")
    return {name: agent.report.model if agent.report else "" for name, agent in now.agents.items()}


def _find_faults(body: FeedbackRequest, agents: Mapping[str, str]) -> Iterator[FieldError]:
    """Yield the faults of a rating of a run with these agents."""
    if all(getattr(body, name) is None for name in _OPINIONS):
        yield FieldError("", f"at least one of {', '.join(_OPINIONS)} is required")
    for name in ("agent", "better", "than"):
        agent = getattr(body, name)
        if agent is not None and agent not in agents:
            yield FieldError(name, f"is not an agent of this run, which are {_join(agents)}")
    if body.better is not None and body.agent is not None:
        yield FieldError("better", "belongs to the answer of the run: leave out agent, or use than")
    if body.than is not None and body.better is None:
        yield FieldError("than", "needs better")
    elif body.than is not None and body.than == body.better:
        yield FieldError("than", "must be another agent than better")


def _join(agents: Mapping[str, str]) -> str:
    names: Sequence[str] = [*agents]
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return ", ".join(names[:20]) + more if names else "none"


def _show(stored: StoredRating) -> dict[str, Any]:
    rating = stored.rating
    values = {
        "agent": rating.agent or None,
        "score": rating.score,
        "thumb": rating.thumb,
        "comment": rating.comment,
        "better": rating.better,
        "than": rating.than,
        "created_at": stored.created_at.isoformat(timespec="milliseconds"),
        "updated_at": stored.updated_at.isoformat(timespec="milliseconds"),
    }
    return {name: value for name, value in values.items() if value is not None}
