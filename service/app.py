"""The composition root: settings in, an ASGI application out. Nothing is global."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import httpx
from quart import Quart, has_request_context, request
from quart import websocket as handshake

from service.accounts.audit import Audit
from service.api import health
from service.api.chat import chat, websocket
from service.api.chat.open_sockets import OpenSockets
from service.api.dependencies import ApiDependencies
from service.api.history import conversations, history
from service.api.http import body_limits, errors, principal
from service.api.lifespan import add_lifespan
from service.api.middleware import cors, hosts, response_headers
from service.api.middleware.lingering_close import LingeringClose
from service.api.middleware.origins import Origins
from service.api.middleware.send_timeout import App, SendTimeout
from service.api.openai import chat_completions
from service.api.openai.responses import routes as responses
from service.api.openapi import docs_page, document
from service.api.runs import process
from service.api.runs import runs as runs_api
from service.api.sessions import ask, sessions
from service.api.text import stream
from service.coalescing import CoalescingWindow
from service.ensembles.catalog import Agent, AgentDefaults, Catalog
from service.ensembles.keys import find_key
from service.ensembles.watcher import EnsemblesFile
from service.llm.client import LLMClient
from service.llm.proxies import ProxyingTransport, read_proxies
from service.llm.resilience import RetryBudget
from service.llm.tokens.counter import open_counter
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

MOCK_URL = "http://mock-llm/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The parts of one service; a server serves `asgi`."""

    settings: Settings
    ensembles: EnsemblesFile
    telemetry: Telemetry
    store: Store
    runs: Runs
    sockets: OpenSockets
    asgi: App


APIS = (
    process,
    stream,
    chat,
    websocket,
    ask,
    sessions,
    chat_completions,
    responses,
    runs_api,
    history,
    conversations,
    health,
)


def create_app(
    settings: Settings,
    variables: Mapping[str, str],
    *,
    transport: httpx.AsyncBaseTransport | None = None,
    telemetry: Telemetry | None = None,
    store: Store | None = None,
) -> Services:
    """Return the service for `settings`.

    Agents' keys are read from `variables` (`key_env`). Tests pass a `transport` that plays the
    model servers and a `telemetry` that records its spans; benchmarks a `store` that writes
    nothing. Raises EnsemblesError, and SettingsError for a malformed DATABASE_URL.
    """
    ensembles = open_ensembles(settings)
    telemetry = telemetry or Telemetry(_telemetry_config(settings, variables))
    _set_labels(telemetry, ensembles.catalog)
    if transport is None and settings.use_llm_mock:
        transport = MockTransport()
    transport = transport or ProxyingTransport(read_proxies(variables))
    http = httpx.AsyncClient(transport=transport)
    telemetry.instrument(http)
    pace, limit = CoalescingWindow(), settings.max_response_bytes
    tokens = open_counter(settings.redis, telemetry)
    store = store or open_store(settings, telemetry)
    audit = Audit(store.audit)
    worker = Worker(
        settings,
        store,
        RunDependencies(
            catalog=lambda: ensembles.catalog,
            client=LLMClient(http, pace, limit, key_needed=not settings.use_llm_mock),
            keys=lambda agent: agent_key(agent, settings, variables),
            budget=RetryBudget(),
            telemetry=telemetry,
            pace=pace,
            tokens=tokens,
        ),
    )
    api = ApiDependencies(
        runs=worker.runs,
        store=store,
        telemetry=telemetry,
        catalog=lambda: ensembles.catalog,
        sockets=OpenSockets(),
        origins=Origins(settings.allowed_origins),
        audit=audit,
    )
    quart = _quart(settings, api)
    relabel = partial(_set_labels, telemetry)
    add_lifespan(
        quart,
        worker,
        watches=(pace.adapt, telemetry.health.watch, partial(ensembles.watch, relabel), audit.run),
        settles=(audit.close,),
        closes=(http.aclose, tokens.close, partial(asyncio.to_thread, telemetry.shutdown)),
    )
    return Services(
        settings=settings,
        ensembles=ensembles,
        telemetry=telemetry,
        store=store,
        runs=worker.runs,
        sockets=api.sockets,
        asgi=LingeringClose(telemetry.middleware(SendTimeout(quart, settings.send_timeout_s))),
    )


def open_ensembles(settings: Settings) -> EnsemblesFile:
    """Return the agents and ensembles of the file that `settings` names. Raises EnsemblesError."""
    defaults = AgentDefaults(
        model=settings.default_model,
        base_url=MOCK_URL if settings.use_llm_mock else settings.default_base_url,
        max_tokens=settings.max_tokens,
    )
    checks = {name: strategy.check for name, strategy in STRATEGIES.items()}
    return EnsemblesFile(settings.ensembles_file, defaults, checks)


def agent_key(agent: Agent, settings: Settings, variables: Mapping[str, str]) -> str | None:
    """Return the key to send to an agent's server, and redact it in logs from now on."""
    key = find_key(agent, settings, variables)
    if key:
        register_secret(key)
    return key


def _quart(settings: Settings, api: ApiDependencies) -> Quart:
    app = Quart("service", static_folder=None)
    app.config["RESPONSE_TIMEOUT"] = None
    body_limits.install(app, settings)
    # The order of the documentation, in UTF-8.
    app.json.sort_keys = app.json.ensure_ascii = False  # type: ignore[attr-defined]
    app.before_request(_report_route)
    app.before_websocket(_report_route)
    hosts.install(app, settings.allowed_hosts, api.origins)
    principal.install(app)
    errors.install(app, api.telemetry)
    response_headers.install(app)
    if settings.allowed_origins:
        cors.install(app, api.origins)
    for each in APIS:
        each.install(app, api)
    document.install(app)
    docs_page.install(app)
    return app


async def _report_route() -> None:
    """Name the route of the current request or WebSocket for its span and metrics."""
    info = current_request()
    rule = request.url_rule if has_request_context() else handshake.url_rule
    if info and rule:
        info.route = rule.rule


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


def _set_labels(telemetry: Telemetry, catalog: Catalog) -> None:
    """Limit the metrics' label values to the configured names."""
    telemetry.set_labels(
        workflows={**catalog.ensembles, **catalog.single_agents},
        agents=catalog.agents,
        models=catalog.models,
        providers={agent.provider for agent in catalog.agents.values()},
    )
