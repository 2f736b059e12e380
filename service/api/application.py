"""The Quart application: the guards in front of every handler, and the addresses of all APIs."""

from __future__ import annotations

from collections.abc import Callable

from quart import Quart, has_request_context, request
from quart import websocket as handshake

from service.api import health
from service.api.accounts import auth, keys, me, users
from service.api.chat import chat, websocket
from service.api.dependencies import ApiDependencies
from service.api.history import conversations, history
from service.api.http import body_limits, errors, principal
from service.api.limits import requests as request_limits
from service.api.middleware import cors, hosts, response_headers
from service.api.openai import chat_completions
from service.api.openai.responses import routes as responses
from service.api.openapi import docs_page, document
from service.api.runs import export, feedback, process, resynthesize
from service.api.runs import runs as runs_api
from service.api.sessions import ask, sessions
from service.api.text import stream
from service.api.usage import audit, usage
from service.settings import Settings
from telemetry import current_request

APIS = (
    process,
    resynthesize,
    export,
    feedback,
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
    usage,
    audit,
    auth,
    users,
    keys,
    me,
    health,
)


def create_quart(
    settings: Settings,
    api: ApiDependencies,
    install_pages: Callable[[Quart, ApiDependencies, Settings], None],
) -> Quart:
    """Return the application with all addresses of the service."""
    app = Quart("service", static_folder=None)
    app.config["RESPONSE_TIMEOUT"] = None
    body_limits.install(app, settings)
    # The order of the documentation, in UTF-8.
    app.json.sort_keys = app.json.ensure_ascii = False  # type: ignore[attr-defined]
    app.before_request(_report_route)
    app.before_websocket(_report_route)
    # Without a credential a page of another host can do nothing, and cookies belong to their host.
    allowed_hosts = "*" if settings.requires_auth else settings.allowed_hosts
    hosts.install(app, allowed_hosts, api.origins)
    principal.install(app, api.accounts.resolver, api.audit)
    request_limits.install(app, api)
    errors.install(app, api.telemetry)
    response_headers.install(app)
    if settings.allowed_origins:
        cors.install(app, api.origins)
    for each in APIS:
        each.install(app, api)
    install_pages(app, api, settings)
    document.install(app)
    docs_page.install(app)
    return app


async def _report_route() -> None:
    """Name the route of the current request or WebSocket for its span and metrics."""
    info = current_request()
    rule = request.url_rule if has_request_context() else handshake.url_rule
    if info and rule:
        info.route = rule.rule
