"""One description of the API, `/openapi.json`, made of the routes and what they say of themselves.

Source: https://spec.openapis.org/oas/v3.1.0
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from quart import Quart, Response
from werkzeug.routing import Rule

from service.api.openapi.components import (
    ABOUT,
    LICENSE,
    STATUSES,
    TAGS,
    OpenAIProblem,
    Problem,
    error_responses,
    headers,
    path_parameter,
    request_id_parameter,
)
from service.api.openapi.operation import (
    EVENTS,
    IDEMPOTENCY_KEY,
    LINES,
    Operation,
    ResponseSpec,
    Tag,
    operation,
)
from service.api.openapi.schemas import Schemas
from service.version import VERSION

_VARIABLE = re.compile(r"<(?:\w+(?:\([^)]*\))?:)?(\w+)>")
_RUN_HEADERS = ("X-Run-Id", "X-Conversation-Id", "X-Degraded")
_EVERY_HEADER = ("X-Request-ID", "X-Trace-Id", "traceresponse")


@dataclass(frozen=True, slots=True)
class Route:
    """A method at an address, and what its handler says of itself."""

    method: str
    path: str
    variables: tuple[str, ...]
    name: str
    operation: Operation

    @property
    def is_openai(self) -> bool:
        return self.path.startswith("/v1/")


def install(app: Quart) -> None:
    """Add the description of `app` to it. It is made when asked for: what comes later is in it."""

    @cache
    def written() -> bytes:
        return json.dumps(document(app)).encode()

    @app.get("/openapi.json")
    @Operation(
        "This description",
        tag=Tag.OPERATIONS,
        answers=(ResponseSpec("OpenAPI 3.1.", dict[str, Any]),),
    )
    async def openapi() -> Response:
        return Response(written(), content_type="application/json")


def document(app: Quart) -> dict[str, Any]:
    """Return the description of `app`. Raises LookupError for a route that says nothing."""
    routes = sorted(_routes(app), key=lambda route: list(Tag).index(route.operation.tag))
    schemas = Schemas(_types(routes))
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method] = _operation(route, schemas)
    used = {route.operation.tag for route in routes}
    return {
        "openapi": "3.1.0",
        "info": {"title": "LLM SSE Service", "version": VERSION, "description": ABOUT, **LICENSE},
        "servers": [{"url": "/"}],
        "tags": [{"name": tag, "description": TAGS[tag]} for tag in Tag if tag in used],
        "paths": paths,
        "components": {
            "schemas": schemas.components,
            "responses": _referred(paths, schemas),
            "parameters": {"RequestId": request_id_parameter()},
            "headers": headers(),
        },
    }


def _referred(paths: Mapping[str, Any], schemas: Schemas) -> dict[str, Any]:
    """Return the errors that some route refers to."""
    errors = error_responses(schemas.of(Problem), schemas.of(OpenAIProblem))
    names = set(re.findall(r'"#/components/responses/(\w+)"', json.dumps(paths)))
    return {name: error for name, error in errors.items() if name in names}


def _routes(app: Quart) -> Iterator[Route]:
    for rule in app.url_map.iter_rules():
        if getattr(rule, "websocket", False):
            continue
        noted = operation(app.view_functions[rule.endpoint])
        if noted is None:
            raise LookupError(f"{rule.rule} has no description")
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            yield _route(rule, method, noted)


def _route(rule: Rule, method: str, noted: Operation) -> Route:
    variables = tuple(_VARIABLE.findall(rule.rule))
    path = _VARIABLE.sub(r"{\1}", rule.rule)
    return Route(method.lower(), path, variables, rule.endpoint, noted)


def _types(routes: Iterable[Route]) -> Iterator[Any]:
    yield from (Problem, OpenAIProblem)
    for route in routes:
        if route.operation.body:
            yield route.operation.body
        yield from (answer.schema for answer in route.operation.answers if answer.schema)


def _operation(route: Route, schemas: Schemas) -> dict[str, Any]:
    noted = route.operation
    shown: dict[str, Any] = {
        "operationId": route.name,
        "tags": [noted.tag],
        "summary": noted.summary,
        **({"description": noted.description} if noted.description else {}),
        "parameters": [
            *(path_parameter(name) for name in route.variables),
            *(each.parameter() for each in noted.parameters),
            {"$ref": "#/components/parameters/RequestId"},
        ],
    }
    if noted.body:
        content: dict[str, Any] = {"schema": schemas.of(noted.body)}
        if noted.example:
            content["example"] = noted.example
        required = not noted.body_may_be_absent
        shown["requestBody"] = {"required": required, "content": {"application/json": content}}
    return {**shown, "responses": _responses(route, schemas)}


def _responses(route: Route, schemas: Schemas) -> dict[str, Any]:
    answers = route.operation.answers
    shape = "OpenAIError" if route.is_openai else "Error"
    good = {
        str(status): _response([each for each in answers if each.status == status], schemas)
        for status in sorted({each.status for each in answers})
    }
    bad = {
        str(status): {"$ref": f"#/components/responses/{shape}{status}"}
        for status in sorted(_statuses(route) - {each.status for each in answers})
    }
    return good | bad


def _response(forms: list[ResponseSpec], schemas: Schemas) -> dict[str, Any]:
    names = _EVERY_HEADER + (_RUN_HEADERS if any(each.of_run for each in forms) else ())
    shown: dict[str, Any] = {
        "description": "\n\n".join(dict.fromkeys(each.description for each in forms)),
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in names},
    }
    content = {each.media: _content(each, schemas) for each in forms if each.schema}
    return {**shown, "content": content} if content else shown


def _content(answer: ResponseSpec, schemas: Schemas) -> dict[str, Any]:
    schema = schemas.of(answer.schema)
    if answer.media == EVENTS:
        return {"schema": {"description": answer.description, **_event(schema, answer.closing)}}
    if answer.media == LINES:
        # OpenAPI 3.1 cannot say what lines are made of; 3.2 can, with `itemSchema`.
        text = {"type": "string", "description": answer.description}
        return {"schema": text, "x-itemSchema": schema}
    return {"schema": schema}


def _event(data: Mapping[str, Any], closing: str) -> dict[str, Any]:
    """Return the schema of an event; that of a stream stands for each of its events.

    Source: https://spec.openapis.org/oas/v3.2.0#server-sent-event-streams
    """
    is_text = data.get("type") == "string"
    text = {"type": "string", "contentMediaType": "application/json", "contentSchema": data}
    shown = data if is_text else {"anyOf": [{"const": closing}, text]} if closing else text
    of_text = {"type": "string"}
    properties = {"id": of_text, "event": of_text, "data": shown}
    return {"type": "object", "properties": properties, "required": ["data"]}


def _statuses(route: Route) -> set[int]:
    """Return the statuses of the errors that an operation can answer with."""
    noted = route.operation
    found = {500, *noted.errors}
    if noted.body or noted.parameters or route.variables:
        found.add(503)  # it has to do with the store
    if noted.body:
        found |= {400, 408, 413, 415}
    if noted.parameters:
        found.add(400)
    if route.variables:
        found.add(404)
    if IDEMPOTENCY_KEY in noted.parameters:
        found.add(422)
    unknown = found - STATUSES.keys()
    if unknown:
        raise LookupError(f"{route.path}: {unknown} have no words in openapi_parts")
    return found


def resolved(whole: Mapping[str, Any], part: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a reference within the document points to, or `part` itself."""
    while "$ref" in part:
        at: Any = whole
        for name in str(part["$ref"]).removeprefix("#/").split("/"):
            at = at[name]
        part = at
    return part
