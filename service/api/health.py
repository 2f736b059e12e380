"""`/health`, `/health/live`, `/health/ready`, `/metrics`, and the list of addresses at `/`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Literal

from quart import Quart, Response, jsonify, request
from typing_extensions import TypedDict

from service.api.dependencies import ApiDependencies
from service.api.openapi.operation import Operation, ResponseSpec, Tag
from service.llm.endpoints.endpoints import OpenCircuit
from service.version import VERSION


class Health(TypedDict):
    """The health of the service; each check is `ok` or states the problem.

    `limits` states which processes count requests together.
    """

    status: Literal["ok", "degraded"]
    version: str
    checks: dict[str, str]
    limits: str


class Liveness(TypedDict):
    """The process is alive or ready."""

    status: Literal["ok"]


def install(app: Quart, api: ApiDependencies) -> None:
    """Add `/`, `/health…` and `/metrics` to `app`."""
    telemetry = api.telemetry

    @app.get("/health")
    @Operation(
        "Get the health of the service",
        tag=Tag.OPERATIONS,
        scope="public",
        answers=(ResponseSpec("The result of each check.", Health),),
    )
    async def health() -> Response:
        return jsonify(check_health(api))

    @app.get("/health/live")
    @Operation(
        "Check that the process is alive",
        tag=Tag.OPERATIONS,
        scope="public",
        answers=(ResponseSpec("The process is alive.", Liveness),),
    )
    async def live() -> Response:
        return jsonify({"status": "ok"})

    @app.get("/health/ready")
    @Operation(
        "Check that the process accepts new runs",
        tag=Tag.OPERATIONS,
        scope="public",
        answers=(ResponseSpec("The process accepts new runs.", Liveness),),
        errors=(503,),
    )
    async def ready() -> Response:
        api.runs.check_accepting()
        return jsonify({"status": "ok"})

    @app.get("/metrics")
    @Operation(
        "Get the metrics for Prometheus",
        tag=Tag.OPERATIONS,
        scope="metrics",
        answers=(
            ResponseSpec("The metrics in Prometheus' text format.", str, media="text/plain"),
            ResponseSpec("The metrics as OpenMetrics.", str, media="application/openmetrics-text"),
        ),
    )
    async def metrics() -> Response:
        # In a thread: with several workers this reads the files of all of them.
        accept = request.headers.get("Accept", "")
        page, content_type = await asyncio.to_thread(telemetry.render_metrics, accept)
        return Response(page, content_type=content_type)

    @app.get("/")
    @Operation(
        "List the addresses of the service",
        tag=Tag.OPERATIONS,
        scope="public",
        answers=(
            ResponseSpec("The addresses.", str, media="text/plain"),
            ResponseSpec("A redirect of a browser to the pages.", status=303),
        ),
    )
    async def welcome() -> Response:
        if "text/html" in request.headers.get("Accept", "").lower():
            return Response("", 303, {"Location": "/web/", "Vary": "Accept"})
        return Response(_WELCOME, content_type="text/plain; charset=utf-8")


def check_health(api: ApiDependencies) -> Health:
    """Return the health of this process, its store and its models."""
    trouble = api.runs.journal.failing or api.store.database.find_file_fault()
    checks = {
        "accepting": "draining" if api.runs.draining else "ok",
        "store": trouble.message if trouble else "ok",
        "models": _describe_circuits(api.endpoints.list_open()) or "ok",
    }
    sharing = api.limiter.describe_sharing()
    if api.limiter.uses_redis:
        checks["redis"] = "ok" if api.limiter.is_shared else sharing
    is_ok = set(checks.values()) == {"ok"}
    return {
        "status": "ok" if is_ok else "degraded",
        "version": VERSION,
        "checks": checks,
        "limits": sharing,
    }


def _describe_circuits(circuits: Sequence[OpenCircuit]) -> str:
    """Return a sentence that names the models that are not called; "" if there are none."""
    named = ", ".join(f"{each.model} on {each.host}" for each in circuits)
    return f"Not called, because their servers have failed: {named}." if named else ""


_WELCOME = f"""LLM SSE Service {VERSION}

POST /api/process            ask several models at once; stream every step
POST /stream                 ask; stream the answer's text
POST /chat                   ask with the messages of a chat; also a WebSocket
POST /conversation           ask in a session; POST /conversation/session creates one
POST /v1/chat/completions    OpenAI's API; also /v1/responses and /v1/models
GET  /api/runs/<id>          a run: state, agents, timings, usage, cost, answer
GET  /api/runs/<id>/events   the events of a run, again or from a position
POST /api/runs/<id>/cancel   cancel a run
POST /api/runs/<id>/retry    ask the agents again that had not answered
GET  /history                earlier questions and answers
GET  /search?query=...       search them
GET  /api/conversations      list conversations; also read, rename, delete, export
GET  /docs  /openapi.json    the complete documentation
GET  /health  /metrics
"""
