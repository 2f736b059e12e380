"""The composition root: settings in, an ASGI application out. Nothing is global."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import httpx

from service.access.addresses import TrustedProxies
from service.accounts.accounts import Accounts
from service.accounts.audit import SYSTEM, Audit
from service.accounts.row_security import warn_without_row_security
from service.accounts.services import open_account_services
from service.api.application import create_quart
from service.api.chat.open_sockets import OpenSockets
from service.api.dependencies import ApiDependencies
from service.api.lifespan import Lifespan
from service.api.limits.open_streams import OpenStreams
from service.api.middleware.forwarded import ForwardedClient
from service.api.middleware.lingering_close import LingeringClose
from service.api.middleware.origins import Origins
from service.api.middleware.send_timeout import App, SendTimeout
from service.coalescing import CoalescingWindow
from service.ensembles.catalog import AgentDefaults, Catalog
from service.ensembles.keys import make_key_finder
from service.ensembles.shipped import find_ensembles_file
from service.ensembles.watcher import EnsemblesFile
from service.limits.file import LimitsFile
from service.limits.limiter import open_limiter
from service.limits.rules import Rules
from service.llm.client import LLMClient
from service.llm.endpoints.endpoints import Endpoints
from service.llm.endpoints.pace import AgentPaces
from service.llm.proxies import ProxyingTransport, read_proxies
from service.llm.resilience import RetryBudget
from service.llm.tokens.counter import open_counter
from service.mock_llm.transport import MockTransport
from service.pages import pages
from service.runs.budgets import RunBudgets
from service.runs.launcher import RunDependencies
from service.runs.past_paces import load_paces
from service.runs.runs import Runs
from service.runs.worker import Worker
from service.settings import Settings
from service.store.store import Store, open_store
from service.strategies import STRATEGIES
from service.version import VERSION
from telemetry import (
    Telemetry,
    TelemetryConfig,
    should_capture_content,
    should_export_logs,
    should_export_traces,
)

MOCK_URL = "http://mock-llm/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The parts of one service; a server serves `asgi`, a command without one uses `lifespan`."""

    settings: Settings
    ensembles: EnsemblesFile
    telemetry: Telemetry
    store: Store
    runs: Runs
    budgets: RunBudgets
    sockets: OpenSockets
    limits: LimitsFile
    lifespan: Lifespan
    asgi: App

    def request_reload(self) -> None:
        """Read the files of ensembles and limits again, also when they have not changed."""
        self.ensembles.request_reload()
        self.limits.request_reload()


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
    nothing. Raises EnsemblesError, LimitsError, and SettingsError for a malformed DATABASE_URL.
    """
    ensembles = open_ensembles(settings)
    limits = LimitsFile(settings.limits_file)
    limiter = open_limiter(settings, lambda: limits.rules)
    telemetry = telemetry or Telemetry(_telemetry_config(settings, variables))
    endpoints = Endpoints(telemetry.endpoints, settings.workers)
    _apply_catalog(telemetry, endpoints, ensembles.catalog)
    telemetry.set_labels(rules=limits.rules.names)
    if transport is None and settings.use_llm_mock:
        transport = MockTransport()
    transport = transport or ProxyingTransport(read_proxies(variables))
    transport = telemetry.trace_requests(transport)
    pace, limit = CoalescingWindow(), settings.max_response_bytes
    tokens = open_counter(settings.redis, telemetry)
    store = store or open_store(settings, telemetry)
    audit = Audit(store.audit)
    is_mock = settings.use_llm_mock
    paces = AgentPaces()
    client = LLMClient(transport, pace, limit, key_needed=not is_mock, endpoints=endpoints)
    budgets = RunBudgets(
        rules=lambda: limits.rules,
        budgets=store.budgets,
        learned=client.learned,
        tokens=tokens,
        telemetry=telemetry,
        audit=audit,
    )
    worker = Worker(
        settings,
        store,
        RunDependencies(
            catalog=lambda: ensembles.catalog,
            client=client,
            keys=make_key_finder(settings, variables),
            budget=RetryBudget(),
            telemetry=telemetry,
            pace=pace,
            tokens=tokens,
            paces=paces,
            budgets=budgets,
        ),
    )
    services = open_account_services(settings, store.database, audit, worker.runs.cancel_all)
    accounts = Accounts(settings, store.database, services.sessions)
    api = ApiDependencies(
        runs=worker.runs,
        store=store,
        telemetry=telemetry,
        catalog=lambda: ensembles.catalog,
        sockets=OpenSockets(),
        origins=Origins(settings.allowed_origins),
        audit=audit,
        accounts=accounts,
        endpoints=endpoints,
        account_services=services,
        limiter=limiter,
    )
    quart = create_quart(settings, api, pages.install)

    def apply(catalog: Catalog) -> None:
        _apply_catalog(telemetry, endpoints, catalog)
        audit.record("ensembles.reloaded", SYSTEM)

    def apply_rules(rules: Rules) -> None:
        telemetry.set_labels(rules=rules.names)
        audit.record("limits.reloaded", SYSTEM)

    lifespan = Lifespan(
        worker,
        watches=(
            pace.adapt,
            telemetry.health.watch,
            partial(ensembles.watch, apply, partial(audit.record, "ensembles.refused", SYSTEM)),
            partial(limits.watch, apply_rules, partial(audit.record, "limits.refused", SYSTEM)),
            limiter.renew_leases,
            partial(warn_without_row_security, settings, store.database),
            audit.run,
            accounts.run,
            partial(load_paces, store.calls, paces, ensembles.catalog),
            accounts.watch_signing_keys,
        ),
        settles=(audit.close, accounts.close, services.close),
        closes=(
            transport.aclose,
            tokens.close,
            limiter.close,
            partial(asyncio.to_thread, telemetry.shutdown),
        ),
    )
    lifespan.install(quart)
    return Services(
        settings=settings,
        ensembles=ensembles,
        telemetry=telemetry,
        store=store,
        runs=worker.runs,
        budgets=budgets,
        sockets=api.sockets,
        limits=limits,
        lifespan=lifespan,
        asgi=_wrap(quart, settings, telemetry),
    )


def _wrap(app: App, settings: Settings, telemetry: Telemetry) -> App:
    """Return `app` behind the middleware that every request passes, the last one first."""
    app = telemetry.middleware(SendTimeout(OpenStreams(app), settings.send_timeout_s))
    return LingeringClose(ForwardedClient(app, TrustedProxies(settings.trusted_proxies)))


def open_ensembles(settings: Settings) -> EnsemblesFile:
    """Return the agents and ensembles of the file that `settings` names. Raises EnsemblesError."""
    defaults = AgentDefaults(
        model=settings.default_model,
        base_url=MOCK_URL if settings.use_llm_mock else settings.default_base_url,
        max_tokens=settings.max_tokens,
    )
    checks = {name: strategy.check for name, strategy in STRATEGIES.items()}
    return EnsemblesFile(find_ensembles_file(settings), defaults, checks)


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


def _apply_catalog(telemetry: Telemetry, endpoints: Endpoints, catalog: Catalog) -> None:
    """Use the limits of a catalog, and only its names as the metrics' label values."""
    endpoints.configure(catalog)
    telemetry.set_labels(
        workflows={**catalog.ensembles, **catalog.single_agents},
        agents=catalog.agents,
        models=catalog.models,
        providers={agent.provider for agent in catalog.agents.values()},
    )
