"""Health, readiness, metrics and a first word to whoever opens `/`."""

from __future__ import annotations

import asyncio
from typing import Literal

from quart import Quart, Response, jsonify, request
from typing_extensions import TypedDict

from service.api.dependencies import ApiDependencies
from service.api.http.errors import problem
from service.api.openapi.operation import Operation, ResponseSpec, Tag
from service.version import VERSION


class Health(TypedDict):
    """How the service is; each check is `ok` or says what is wrong."""

    status: Literal["ok", "degraded"]
    version: str
    checks: dict[str, str]


class Fine(TypedDict):
    """Yes."""

    status: Literal["ok"]


def install(app: Quart, api: ApiDependencies) -> None:
    """Add `/`, `/health…` and `/metrics` to `app`."""
    runs, telemetry = api.runs, api.telemetry

    @app.get("/health")
    @Operation(
        "How the service is", tag=Tag.OPERATIONS, answers=(ResponseSpec("Its checks.", Health),)
    )
    async def health() -> Response:
        trouble = runs.journal.failing
        checks = {
            "accepting": "draining" if runs.draining else "ok",
            "store": trouble.message if trouble else "ok",
        }
        status = "ok" if set(checks.values()) == {"ok"} else "degraded"
        return jsonify({"status": status, "version": VERSION, "checks": checks})

    @app.get("/health/live")
    @Operation(
        "Whether the process serves", tag=Tag.OPERATIONS, answers=(ResponseSpec("It does.", Fine),)
    )
    async def live() -> Response:
        return jsonify({"status": "ok"})

    @app.get("/health/ready")
    @Operation(
        "Whether it takes new questions",
        tag=Tag.OPERATIONS,
        answers=(ResponseSpec("It does.", Fine),),
        errors=(503,),
    )
    async def ready() -> Response:
        if runs.draining:
            return problem(
                "draining", "The service is shutting down.", headers={"Retry-After": "5"}
            )
        return jsonify({"status": "ok"})

    @app.get("/metrics")
    @Operation(
        "Metrics for Prometheus",
        tag=Tag.OPERATIONS,
        answers=(
            ResponseSpec("Prometheus' text format.", str, media="text/plain"),
            ResponseSpec("The same.", str, media="application/openmetrics-text"),
        ),
    )
    async def metrics() -> Response:
        # In a thread: with several workers it reads the files of all of them.
        accept = request.headers.get("Accept", "")
        page, content_type = await asyncio.to_thread(telemetry.render_metrics, accept)
        return Response(page, content_type=content_type)

    @app.get("/")
    @Operation(
        "What there is, in short",
        tag=Tag.OPERATIONS,
        answers=(ResponseSpec("Addresses.", str, media="text/plain"),),
    )
    async def welcome() -> Response:
        return Response(_WELCOME, content_type="text/plain; charset=utf-8")


_WELCOME = f"""LLM SSE Service {VERSION}

POST /api/process            ask several models at once; all that happens streams
POST /stream                 the same, the answer's text alone
GET  /api/runs/<id>          a run: state, agents, timings, usage, cost, answer
GET  /api/runs/<id>/events   the run's stream again
POST /api/runs/<id>/cancel   stop it
POST /api/runs/<id>/retry    ask again what it left unanswered
GET  /history                what was asked and answered
GET  /search?query=...       the same, by its words
GET  /api/conversations      also: one of them, rename, delete, export
POST /conversation           ask in a session; /conversation/session begins one
GET  /docs  /openapi.json    all of this, in full
GET  /health  /metrics
"""
