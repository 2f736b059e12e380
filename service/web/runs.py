"""`/api/runs`: look at a run, follow it again, stop it."""

from __future__ import annotations

from typing import Any

from quart import Quart, Response, jsonify, request

from service.errors import RequestError
from service.runs.record import AgentRecord, record
from service.runs.run import Run
from service.runs.runs import Runs
from service.web import sse
from service.web.event_json import encoder, report_json, usage_json
from service.web.requests import owner, position


def install(app: Quart, runs: Runs) -> None:
    """Add the resource to `app`."""

    @app.get("/api/runs/<run_id>")
    async def show_run(run_id: str) -> Response:
        return _shown(runs.get(run_id, owner()))

    @app.get("/api/runs/<run_id>/events")
    async def run_events(run_id: str) -> Response:
        if request.headers.get("Last-Event-ID"):
            return reattach(runs, run_id)
        return _follow(runs, runs.get(run_id, owner()), _starting_after())

    @app.post("/api/runs/<run_id>/cancel")
    async def cancel_run(run_id: str) -> Response:
        run = runs.get(run_id, owner())
        await runs.cancel(run)
        return _shown(run)


def reattach(runs: Runs, run_id: str | None = None) -> Response:
    """Return the rest of the run that the request's `Last-Event-ID` names.

    Raises RequestError when the header is malformed, or names another run than `run_id`.
    """
    named, seq = position(request.headers["Last-Event-ID"])
    if run_id is not None and run_id != named:
        raise RequestError(
            400, "bad_last_event_id", "Last-Event-ID belongs to another run than the address."
        )
    run = runs.get(named, owner())
    if run.log.finished and seq >= len(run.log) and _from_event_source():
        # 204 is how a browser's EventSource is told to stop reconnecting.
        # Source: WHATWG HTML, server-sent-events.html#processing-model-2
        response = Response(status=204, headers=sse.run_headers(run))
        for name in ("Content-Type", "Content-Length"):  # there is none to describe
            response.headers.remove(name)
        return response
    return _follow(runs, run, seq)


def _follow(runs: Runs, run: Run, after: int) -> Response:
    if after > len(run.log):
        raise RequestError(
            400, "bad_position", f"The run has only {len(run.log)} events so far, not {after}."
        )
    runs.note_resumed(run)
    return sse.stream(runs, run, encoder(run), after)


def _from_event_source() -> bool:
    return request.headers.get("Accept", "").strip() == "text/event-stream"


def _starting_after() -> int:
    value = request.args.get("starting_after", "0")
    if not (value.isascii() and value.isdigit() and len(value) <= 9):
        raise RequestError(400, "bad_position", "starting_after must be the seq of an event.")
    return int(value)


def _shown(run: Run) -> Response:
    now = record(run.log.after(0))
    shown: dict[str, Any] = {
        "run_id": run.id,
        "message_id": run.ask.message_id,
        "conversation_id": run.ask.conversation_id,
        "ensemble": run.ensemble.name,
        "config_hash": run.ensemble.config_hash,
        "trace_id": run.trace_id,
        "state": now.state,
        "created_at": run.created_at.isoformat(timespec="milliseconds"),
        "elapsed_ms": now.elapsed_ms if now.elapsed_ms is not None else run.elapsed_ms(),
        "events": len(run.log),
        "agents": [_agent(agent) for agent in now.agents.values()],
        "usage": usage_json(now.usage),
        "cost": now.cost,
        "answer": now.answer,
    }
    if now.degraded:
        shown |= {"degraded": True, "answered_by": now.answered_by}
    if now.code:
        shown |= {"code": now.code, "message": now.message}
    response = jsonify(shown)
    response.headers.update(sse.run_headers(run))
    return response


def _agent(agent: AgentRecord) -> dict[str, Any]:
    shown: dict[str, Any] = {"name": agent.name, "state": agent.state, "retries": agent.retries}
    if agent.code:
        shown |= {"code": agent.code, "message": agent.message}
    if agent.report:
        shown |= {"model": agent.report.model, **report_json(agent.report)}
        shown |= {"answer": agent.report.text, "partial": agent.report.partial}
    return shown
