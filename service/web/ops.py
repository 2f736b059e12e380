"""Health, readiness, metrics and a first word to whoever opens `/`."""

from __future__ import annotations

import asyncio

from quart import Quart, Response, jsonify, request

from service.runs.runs import Runs
from service.version import VERSION
from service.web.problems import problem
from telemetry import Telemetry


def install(app: Quart, runs: Runs, telemetry: Telemetry) -> None:
    """Add the operations endpoints to `app`."""

    @app.get("/health")
    async def health() -> Response:
        trouble = runs.journal.failing
        checks = {
            "accepting": "draining" if runs.draining else "ok",
            "store": trouble.message if trouble else "ok",
        }
        status = "ok" if set(checks.values()) == {"ok"} else "degraded"
        return jsonify({"status": status, "version": VERSION, "checks": checks})

    @app.get("/health/live")
    async def live() -> Response:
        return jsonify({"status": "ok"})

    @app.get("/health/ready")
    async def ready() -> Response:
        if runs.draining:
            return problem(
                503, "draining", "The service is shutting down.", headers={"Retry-After": "5"}
            )
        return jsonify({"status": "ok"})

    @app.get("/metrics")
    async def metrics() -> Response:
        # In a thread: with several workers it reads the files of all of them.
        accept = request.headers.get("Accept", "")
        page, content_type = await asyncio.to_thread(telemetry.metrics_page, accept)
        return Response(page, content_type=content_type)

    @app.get("/")
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
GET  /health  /metrics
"""
