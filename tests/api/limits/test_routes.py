"""Every route that starts a run declares it, so that limits count its run and its answer."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any, cast
from unittest.mock import MagicMock

from service.api.application import create_quart
from service.api.dependencies import ApiDependencies
from service.api.openapi.operation import Operation, operation
from service.pages import pages
from service.settings import Settings

_STARTS = ("start_run(", "start_retry(", "open_run(")
_UNLIMITED = {
    "/", "/docs", "/openapi.json", "/metrics", "/health", "/health/live", "/health/ready",
    "/api/me", "/api/runs/<run_id>/cancel", "/v1/responses/<response_id>/cancel",
}  # fmt: skip


def _routes() -> Iterator[tuple[str, Operation, Callable[..., Any]]]:
    app = create_quart(Settings(), cast(ApiDependencies, MagicMock()), pages.install)
    for rule in app.url_map.iter_rules():
        handler = app.view_functions[rule.endpoint]
        described = operation(handler)
        if described and not getattr(rule, "websocket", False):
            yield rule.rule, described, handler


def test_a_route_that_starts_a_run_declares_it() -> None:
    starting = {
        rule
        for rule, _, handler in _routes()
        if any(each in inspect.getsource(inspect.unwrap(handler)) for each in _STARTS)
    }
    assert "/api/process" in starting
    assert {rule for rule, described, _ in _routes() if described.use == "run"} == starting


def test_no_handler_starts_a_run_past_the_limits() -> None:
    for rule, _, handler in _routes():
        source = inspect.getsource(inspect.unwrap(handler))
        assert not any(f"runs.{each}(" in source for each in ("start", "retry", "open")), rule


def test_only_operations_and_the_end_of_a_run_have_no_limits() -> None:
    assert {rule for rule, described, _ in _routes() if not described.is_limited} == _UNLIMITED
