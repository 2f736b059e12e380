"""Every error code has one HTTP status, in one table."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from service.api.http.errors import STATUSES
from service.errors import ServiceError, UpstreamError
from service.runs import stop_reasons
from service.runs.stop_reasons import StopReason
from tests._support.paths import ROOT


def _raised_codes(*makers: str) -> Iterator[str]:
    """Yield the codes written as an argument of calls of `makers` anywhere in the service."""
    for path in (ROOT / "service").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            match node:
                case ast.Call(func=ast.Name(id=name), args=[ast.Constant(value=str(code)), *_]):
                    if name in makers:
                        yield code


def _subclasses(error: type[ServiceError]) -> Iterator[type[ServiceError]]:
    yield error
    for each in error.__subclasses__():
        yield from _subclasses(each)


def test_every_code_of_a_refused_request_has_a_status() -> None:
    codes = set(_raised_codes("RequestError", "problem"))
    assert {"run_not_found", "draining", "bad_json"} <= codes
    assert codes <= set(STATUSES)


def test_every_code_of_a_failed_run_has_a_status() -> None:
    stops = {each.code for each in vars(stop_reasons).values() if isinstance(each, StopReason)}
    assert {"cancelled", "interrupted"} <= stops
    upstream = {each.code for each in _subclasses(UpstreamError)}
    assert stops | upstream | set(_raised_codes("RunError")) <= set(STATUSES)
