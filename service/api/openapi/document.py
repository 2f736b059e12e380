"""`/openapi.json`, generated from the routes and their `Operation`s.

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

from service.api.http.principal import is_page
from service.api.openapi.components import (
    ABOUT,
    LICENSE,
    LIMIT_HEADERS,
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
from service.api.openapi.security import SECURITY_SCHEMES, security_of
from service.version import VERSION

_VARIABLE = re.compile(r"<(?:\w+(?:\([^)]*\))?:)?(\w+)>")
_RUN_HEADERS = ("X-Run-Id", "X-Conversation-Id", "X-Degraded")
_EVERY_HEADER = ("X-Request-ID", "X-Trace-Id", "traceresponse")


@dataclass(frozen=True, slots=True)
class Route:
    """A method at an address, with the `Operation` of its handler."""

    method: str
    path: str
    variables: tuple[str, ...]
    name: str
    operation: Operation

    @property
    def is_openai(self) -> bool:
        return self.path.startswith("/v1/")


def install(app: Quart) -> None:
    """Add `/openapi.json` to `app`. It includes the routes that are installed later."""

    @cache
    def encoded() -> bytes:
        return json.dumps(document(app)).encode()

    @app.get("/openapi.json")
    @Operation(
        "Get the OpenAPI description of the service",
        tag=Tag.OPERATIONS,
        scope="public",
        answers=(ResponseSpec("The description, in OpenAPI 3.1.", dict[str, Any]),),
    )
    async def openapi() -> Response:
        return Response(encoded(), content_type="application/json")


def document(app: Quart) -> dict[str, Any]:
    """Return the OpenAPI document of `app`. Raises LookupError for a route without `Operation`."""
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
            "securitySchemes": SECURITY_SCHEMES,
        },
    }


def _referred(paths: Mapping[str, Any], schemas: Schemas) -> dict[str, Any]:
    """Return the error responses that at least one route refers to."""
    errors = error_responses(schemas.of(Problem), schemas.of(OpenAIProblem))
    names = set(re.findall(r'"#/components/responses/(\w+)"', json.dumps(paths)))
    return {name: error for name, error in errors.items() if name in names}


def _routes(app: Quart) -> Iterator[Route]:
    for rule in app.url_map.iter_rules():
        if getattr(rule, "websocket", False):
            continue
        handler = app.view_functions[rule.endpoint]
        described = operation(handler)
        if described is None and is_page(handler):
            continue
        if described is None:
            raise LookupError(f"{rule.rule} has no Operation")
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            yield _route(rule, method, described)


def _route(rule: Rule, method: str, described: Operation) -> Route:
    variables = tuple(_VARIABLE.findall(rule.rule))
    path = _VARIABLE.sub(r"{\1}", rule.rule)
    return Route(method.lower(), path, variables, rule.endpoint, described)


def _types(routes: Iterable[Route]) -> Iterator[Any]:
    yield from (Problem, OpenAIProblem)
    for route in routes:
        if route.operation.body:
            yield route.operation.body
        yield from (answer.schema for answer in route.operation.answers if answer.schema)


def _operation(route: Route, schemas: Schemas) -> dict[str, Any]:
    described = route.operation
    shown: dict[str, Any] = {
        "operationId": route.name,
        "tags": [described.tag],
        "summary": described.summary,
        **({"description": described.description} if described.description else {}),
        "parameters": [
            *(path_parameter(name) for name in route.variables),
            *(each.parameter() for each in described.parameters),
            {"$ref": "#/components/parameters/RequestId"},
        ],
    }
    if described.body:
        content: dict[str, Any] = {"schema": schemas.of(described.body)}
        if described.example:
            content["example"] = described.example
        required = not described.body_may_be_absent
        shown["requestBody"] = {"required": required, "content": {"application/json": content}}
    responses = _responses(route, schemas)
    return {**shown, **security_of(described.scope), "responses": responses}


def _responses(route: Route, schemas: Schemas) -> dict[str, Any]:
    answers = route.operation.answers
    shape = "OpenAIError" if route.is_openai else "Error"
    of_limits = LIMIT_HEADERS if route.operation.is_limited else ()
    good = {
        str(status): _response([e for e in answers if e.status == status], schemas, of_limits)
        for status in sorted({each.status for each in answers})
    }
    bad = {
        str(status): {"$ref": f"#/components/responses/{shape}{status}"}
        for status in sorted(_statuses(route) - {each.status for each in answers})
    }
    return good | bad


def _response(
    forms: list[ResponseSpec], schemas: Schemas, headers: tuple[str, ...]
) -> dict[str, Any]:
    of_run = _RUN_HEADERS if any(each.of_run for each in forms) else ()
    names = (*_EVERY_HEADER, *of_run, *headers)
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
        # OpenAPI 3.1 cannot describe the JSON of each line; 3.2 can, with `itemSchema`.
        text = {"type": "string", "description": answer.description}
        return {"schema": text, "x-itemSchema": schema}
    return {"schema": schema}


def _event(data: Mapping[str, Any], closing: str) -> dict[str, Any]:
    """Return the schema of one event, which describes a stream of such events.

    Source: https://spec.openapis.org/oas/v3.2.0#server-sent-event-streams
    """
    is_text = data.get("type") == "string"
    text = {"type": "string", "contentMediaType": "application/json", "contentSchema": data}
    shown = data if is_text else {"anyOf": [{"const": closing}, text]} if closing else text
    of_text = {"type": "string"}
    properties = {"id": of_text, "event": of_text, "data": shown}
    return {"type": "object", "properties": properties, "required": ["data"]}


def _statuses(route: Route) -> set[int]:
    """Return the error statuses of a route."""
    described = route.operation
    found = {421, 500, *described.errors}
    if described.scope != "public":
        found |= {401, 403}
    if route.method != "get":
        found.add(403)  # for a page of another site
    if described.body or described.parameters or route.variables:
        found.add(503)  # it uses the store
    if described.body:
        found |= {400, 408, 413, 415}
    if described.parameters:
        found.add(400)
    if route.variables:
        found.add(404)
    if IDEMPOTENCY_KEY in described.parameters:
        found.add(422)
    if described.is_limited:
        found |= {402, 429} if described.use == "run" else {429}
    unknown = found - STATUSES.keys()
    if unknown:
        raise LookupError(f"{route.path}: {unknown} have no description in components.py")
    return found


def resolve(whole: Mapping[str, Any], part: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the target of a reference within the document, or `part` itself."""
    while "$ref" in part:
        at: Any = whole
        for name in str(part["$ref"]).removeprefix("#/").split("/"):
            at = at[name]
        part = at
    return part
