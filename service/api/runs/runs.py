"""`/api/runs`: read a run, follow its events, cancel it, retry it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NotRequired

from quart import Quart, Response, request

from service.api.dependencies import ApiDependencies
from service.api.http import sse
from service.api.http.body import parse_event_id
from service.api.http.degraded import DegradedFields, degraded_fields
from service.api.http.principal import current_principal
from service.api.http.query import SequenceParam
from service.api.limits.requests import start_retry
from service.api.openapi.operation import EVENTS, LAST_EVENT_ID, Operation, ResponseSpec, Tag
from service.api.runs.event_json import encoder
from service.api.runs.feedback import RatingShown, list_ratings, read_available_ratings
from service.api.runs.report_json import report_json, usage_json
from service.api.runs.schemas import AgentShown, FindingFields, RunEvent, TokenUsage
from service.errors import RequestError
from service.runs.projections.long_logs import summarize_log
from service.runs.projections.rows import restore_agent
from service.runs.projections.summary import AgentSummary, RunSummary
from service.runs.run import Run
from service.runs.runs import Runs
from service.store.records import AgentAnswer, StoredRun


class RunShown(DegradedFields, FindingFields):
    """A run; usage and cost are its totals once it has ended.

    `interrupted_at` is the `seq` of the last event before a gap in the numbers: the run was ended
    by another process, which could not know the last events of a lost one.
    """

    run_id: str
    message_id: str
    conversation_id: str
    ensemble: str
    config_hash: str
    trace_id: str
    created_at: str
    retry_of: NotRequired[str]
    state: Literal["running", "completed", "failed", "cancelled", "interrupted"]
    elapsed_ms: float | None
    events: int
    interrupted_at: NotRequired[int]
    agents: list[AgentShown]
    usage: TokenUsage
    cost: float | None
    answer: str
    feedback: NotRequired[list[RatingShown]]
    answered_by: NotRequired[str]
    finish_reason: NotRequired[str]
    code: NotRequired[str]
    message: NotRequired[str]


NOTHING_MORE = "No event follows: a browser's `EventSource` stops reconnecting."
_SHOWN = ResponseSpec("The run.", RunShown, of_run=True)
_STREAM = ResponseSpec(
    "Unnamed events, the last with `final: true`.", RunEvent, media=EVENTS, of_run=True
)
_STARTING_AFTER = SequenceParam("starting_after", "The `seq` of the last received event.")


def install(app: Quart, api: ApiDependencies) -> None:
    """Add `/api/runs` to `app`."""
    runs, tables = api.runs, api.store.runs

    async def respond(found: Run | StoredRun) -> Response:
        if isinstance(found, Run):
            shown = await describe_run(found)
            if shown["state"] != "running":
                shown |= await read_available_ratings(api.store.feedback, found)
            return sse.run_json(found, shown)
        answers = await tables.list_agent_answers(found.owner, found.id)
        findings = await tables.read_findings(found.owner, found.id)
        ratings = await list_ratings(api.store.feedback, found.owner, found.id)
        state = {**_from_record(found, answers), **findings, "feedback": ratings}
        return _response(found, state)

    @app.get("/api/runs/<run_id>")
    @Operation("Get a run", tag=Tag.RUNS, scope="read", answers=(_SHOWN,))
    async def show_run(run_id: str) -> Response:
        return await respond(await runs.get(run_id, current_principal().owner))

    @app.get("/api/runs/<run_id>/events")
    @Operation(
        "Stream the events of a run, from the start or after a position",
        tag=Tag.RUNS,
        scope="read",
        parameters=(LAST_EVENT_ID, _STARTING_AFTER),
        answers=(_STREAM, ResponseSpec(NOTHING_MORE, status=204, of_run=True)),
        errors=(410,),
        use="events",
    )
    async def run_events(run_id: str) -> Response:
        if request.headers.get("Last-Event-ID"):
            return await reattach(runs, run_id)
        return _follow(
            runs, await runs.find(run_id, current_principal().owner), _STARTING_AFTER.read()
        )

    @app.post("/api/runs/<run_id>/cancel")
    @Operation("Cancel a run", tag=Tag.RUNS, scope="run", answers=(_SHOWN,), use="free")
    async def cancel_run(run_id: str) -> Response:
        found = await runs.get(run_id, current_principal().owner)
        if isinstance(found, Run):
            await runs.cancel(found)
        return await respond(found)

    @app.post("/api/runs/<run_id>/retry")
    @Operation(
        "Retry a run that failed",
        tag=Tag.RUNS,
        scope="run",
        description="Starts a new run. Agents that had answered are not called again.",
        answers=(_STREAM,),
        errors=(400, 409),
        use="run",
    )
    async def retry_run(run_id: str) -> Response:
        run = await start_retry(runs, run_id, current_principal())
        return sse.stream(runs, run, encoder(run))


async def reattach(runs: Runs, run_id: str | None = None) -> Response:
    """Return the response that resumes the run of the request's `Last-Event-ID` header.

    Raises RequestError when the header is malformed, or names another run than `run_id`.
    """
    named, seq = parse_event_id(request.headers["Last-Event-ID"])
    if run_id is not None and run_id != named:
        raise RequestError(
            "bad_last_event_id", "Last-Event-ID belongs to another run than the address."
        )
    run = await runs.find(named, current_principal().owner)
    if run.log.finished and seq >= run.log.last_seq and _from_event_source():
        # A browser's EventSource stops reconnecting after a 204.
        # Source: WHATWG HTML, server-sent-events.html#processing-model-2
        response = Response(status=204, headers=sse.run_headers(run))
        for name in ("Content-Type", "Content-Length"):  # there is no body to describe
            response.headers.remove(name)
        return response
    return _follow(runs, run, seq)


def _follow(runs: Runs, run: Run, after: int) -> Response:
    last_seq = run.log.last_seq
    if after > last_seq and run.is_complete:
        if not run.was_interrupted:
            raise RequestError(
                "bad_position", f"The run has only {last_seq} events so far, not {after}."
            )
        after = last_seq - 1  # an older version left no gap for lost events
    runs.note_resumed(run)
    return sse.stream(runs, run, encoder(run), after)


def _from_event_source() -> bool:
    return request.headers.get("Accept", "").strip() == "text/event-stream"


def _from_events(run: Run, now: RunSummary) -> dict[str, Any]:
    """Return the state of a run whose events are available."""
    return {
        "state": now.state,
        "elapsed_ms": run.elapsed_ms if now.state == "running" else now.elapsed_ms,
        "events": len(run.log),
        **_interruption(run.log.interrupted_at),
        "agents": [_agent(agent) for agent in now.agents.values()],
        "usage": usage_json(now.usage),
        "cost": now.cost,
        "answer": now.answer,
        **now.findings,
        **degraded_fields(now),
        **({"answered_by": now.answered_by} if now.degraded_by and now.answered_by else {}),
        **({"finish_reason": now.finish_reason} if now.finish_reason else {}),
        **({"code": now.code, "message": now.message} if now.code else {}),
    }


def _from_record(run: StoredRun, answers: Sequence[AgentAnswer]) -> dict[str, Any]:
    """Return the state of a run whose events have expired."""
    return {
        "state": run.state,
        "elapsed_ms": run.elapsed_ms,
        "events": run.last_seq if run.interrupted_at is None else run.interrupted_at + 1,
        **_interruption(run.interrupted_at),
        "agents": [_agent(restore_agent(each)) for each in answers],
        "usage": usage_json(run.usage),
        "cost": run.cost_usd,
        "answer": run.answer,
        **degraded_fields(run),
        **({"answered_by": run.answered_by} if run.degraded_by else {}),
        **({"finish_reason": run.finish_reason} if run.finish_reason else {}),
        **({"code": run.code, "message": run.error} if run.code else {}),
    }


def _interruption(seq: int | None) -> dict[str, Any]:
    return {} if seq is None else {"interrupted_at": seq}


async def describe_run(run: Run) -> dict[str, Any]:
    """Return a run whose events are available as JSON, with its answers."""
    return _describe(run, _from_events(run, await summarize_log(run.log)))


def _response(run: Run | StoredRun, state: Mapping[str, Any]) -> Response:
    return sse.run_json(run, _describe(run, state))


def _describe(run: Run | StoredRun, state: Mapping[str, Any]) -> dict[str, Any]:
    ensemble = run.ensemble_name if isinstance(run, Run) else run.ensemble
    return {
        "run_id": run.id,
        "message_id": run.message_id,
        "conversation_id": run.conversation_id,
        "ensemble": ensemble,
        "config_hash": run.config_hash,
        "trace_id": run.trace_id,
        "created_at": run.created_at.isoformat(timespec="milliseconds"),
        **({"retry_of": run.retry_of} if run.retry_of else {}),
        **state,
    }


def _agent(agent: AgentSummary) -> dict[str, Any]:
    shown: dict[str, Any] = {"name": agent.name, "state": agent.state, "retries": agent.retries}
    if agent.hedges:
        shown["hedges"] = agent.hedges
    if agent.code:
        shown |= {"code": agent.code, "message": agent.message}
    if agent.report:
        shown |= {"model": agent.report.model, **report_json(agent.report)}
        shown |= {"answer": agent.report.text, "partial": agent.report.partial}
    if agent.seams:
        shown["continued"] = [
            {"position": each.position, "model": each.model, "code": each.code}
            for each in agent.seams
        ]
    if agent.reasoning:
        shown["reasoning"] = agent.reasoning
    return shown
