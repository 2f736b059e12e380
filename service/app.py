"""The one composition root: settings in, an ASGI application out. Nothing is global."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import httpx
from quart import Quart, request

from service.api import health
from service.api.chat import chat, websocket
from service.api.history import conversations, history
from service.api.http import errors, principal
from service.api.middleware import cors
from service.api.middleware.lingering_close import LingeringClose
from service.api.middleware.origins import Origins
from service.api.middleware.send_timeout import App, SendTimeout
from service.api.openai import chat_completions
from service.api.openai.responses import routes as responses
from service.api.openapi import docs_page, document
from service.api.runs import process
from service.api.runs import runs as run_pages
from service.api.sessions import ask
from service.api.text import stream
from service.coalescing import CoalescingWindow
from service.ensembles.catalog import Agent, AgentDefaults, Catalog
from service.ensembles.watcher import EnsemblesFile
from service.llm.client import LLMClient
from service.llm.resilience import RetryBudget
from service.llm.tokens.counter import open_counter
from service.llm.transport import UpstreamTransport
from service.mock_llm.transport import MockTransport
from service.runs.launcher import RunDependencies
from service.runs.runs import Runs
from service.runs.worker import Worker
from service.settings import Settings
from service.store.store import Store, open_store
from service.strategies import STRATEGIES
from service.version import VERSION
from telemetry import (
    Telemetry,
    TelemetryConfig,
    current_request,
    register_secret,
    should_capture_content,
    should_export_logs,
    should_export_traces,
)

_log = logging.getLogger(__name__)

MOCK_URL = "http://mock-llm/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What the application is made of; `asgi` is what a server serves."""

    settings: Settings
    ensembles: EnsemblesFile
    telemetry: Telemetry
    store: Store
    runs: Runs
    sockets: websocket.Sockets
    asgi: App


def create_app(
    settings: Settings,
    variables: Mapping[str, str],
    *,
    transport: httpx.AsyncBaseTransport | None = None,
    telemetry: Telemetry | None = None,
    store: Store | None = None,
) -> Services:
    """Return the service for `settings`.

    `variables` is where agents' keys are found (`key_env`). Tests hand in a `transport` that plays
    the models' servers, and a `telemetry` that remembers its spans; measurements, a `store` that
    keeps nothing. Raises EnsemblesError, and SettingsError for a DATABASE_URL that makes no sense.
    """
    ensembles = open_ensembles(settings)
    telemetry = telemetry or Telemetry(_telemetry_config(settings, variables))
    _label(telemetry, ensembles.catalog)
    http = httpx.AsyncClient(transport=transport or _transport(settings))
    telemetry.instrument(http)
    pace = CoalescingWindow()
    tools = RunDependencies(
        catalog=lambda: ensembles.catalog,
        client=LLMClient(http, pace, key_needed=not settings.use_llm_mock),
        keys=lambda agent: agent_key(agent, settings, variables),
        budget=RetryBudget(),
        telemetry=telemetry,
        pace=pace,
        tokens=open_counter(settings.redis, telemetry),
    )
    store = store or open_store(settings, telemetry)
    worker = Worker(settings, store, tools)
    sockets = websocket.Sockets()
    quart = _quart(settings, worker.runs, store, telemetry)
    chat_completions.install(quart, worker.runs, tools.catalog)
    responses.install(quart, worker.runs, store.runs, tools.catalog)
    origins = Origins(settings.allowed_origins)
    websocket.install(quart, worker.runs, sockets, origins)
    if settings.allowed_origins:
        cors.install(quart, origins)
    watch = partial(ensembles.watch, lambda catalog: _label(telemetry, catalog))
    _lifespan(quart, [pace.adapt, telemetry.health.watch, watch], worker)

    @quart.after_serving
    async def end() -> None:
        await http.aclose()
        await tools.tokens.close()
        await asyncio.to_thread(telemetry.shutdown)

    return Services(
        settings=settings,
        ensembles=ensembles,
        telemetry=telemetry,
        store=store,
        runs=worker.runs,
        sockets=sockets,
        asgi=LingeringClose(telemetry.middleware(SendTimeout(quart, settings.send_timeout_s))),
    )


def open_ensembles(settings: Settings) -> EnsemblesFile:
    """Return the agents and ensembles that `settings` point to. Raises EnsemblesError."""
    defaults = AgentDefaults(
        model=settings.default_model,
        base_url=MOCK_URL if settings.use_llm_mock else settings.default_base_url,
        max_tokens=settings.max_tokens,
    )
    checks = {name: strategy.check for name, strategy in STRATEGIES.items()}
    return EnsemblesFile(settings.ensembles_file, defaults, checks)


def agent_key(agent: Agent, settings: Settings, variables: Mapping[str, str]) -> str | None:
    """Return the secret an agent is asked with: its own variable's, or the default key."""
    if agent.key_env:
        key = variables.get(agent.key_env, "")
    else:
        key = settings.default_key.get_secret_value() if settings.default_key else ""
    key = key.strip()  # a key read from a file often ends with a newline
    if key:
        register_secret(key)
    return key or None


def _quart(settings: Settings, runs: Runs, store: Store, telemetry: Telemetry) -> Quart:
    app = Quart("service", static_folder=None)
    app.config.update(
        MAX_CONTENT_LENGTH=settings.max_body_bytes,
        BODY_TIMEOUT=settings.body_timeout_s,
        RESPONSE_TIMEOUT=None,
    )
    app.json.sort_keys = False  # type: ignore[attr-defined]  # pages in the order of their docs

    @app.before_request
    async def name_the_route() -> None:
        info = current_request()
        if info and request.url_rule:
            info.route = request.url_rule.rule

    principal.install(app)
    errors.install(app, telemetry)
    process.install(app, runs)
    run_pages.install(app, runs, store.runs)
    stream.install(app, runs)
    chat.install(app, runs)
    history.install(app, runs, store)
    conversations.install(app, runs, store.conversations)
    ask.install(app, runs, store.conversations)
    health.install(app, runs, telemetry)
    document.install(app)
    docs_page.install(app)
    return app


def _lifespan(
    app: Quart, watches: Sequence[Callable[[], Coroutine[None, None, None]]], worker: Worker
) -> None:
    tasks: list[asyncio.Task[None]] = []

    @app.before_serving
    async def begin() -> None:
        await worker.start()
        tasks.extend(asyncio.create_task(watch()) for watch in watches)

    @app.after_serving
    async def end() -> None:
        for task in tasks:
            task.cancel()
        await worker.stop()


def _transport(settings: Settings) -> httpx.AsyncBaseTransport:
    if settings.use_llm_mock:
        return MockTransport()
    return UpstreamTransport()


def _telemetry_config(settings: Settings, variables: Mapping[str, str]) -> TelemetryConfig:
    hosts = (host.strip().lower() for host in settings.traceparent_hosts.split(","))
    return TelemetryConfig(
        service_version=VERSION,
        otlp_enabled=should_export_traces(variables),
        otlp_logs_enabled=should_export_logs(variables),
        captures_content=should_capture_content(variables),
        trust_traceparent=settings.trust_traceparent,
        traceparent_hosts=frozenset(host for host in hosts if host),
    )


def _label(telemetry: Telemetry, catalog: Catalog) -> None:
    """Close the metrics' label sets over what is configured."""
    telemetry.set_labels(
        workflows={**catalog.ensembles, **catalog.alone},
        agents=catalog.agents,
        models=catalog.models,
        providers={agent.provider for agent in catalog.agents.values()},
    )
