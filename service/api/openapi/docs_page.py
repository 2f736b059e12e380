"""`/docs`: the OpenAPI document as a page on which requests can be tried.

The page loads nothing: style and script are inline, and the Content-Security-Policy allows only
their hashes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment
from markupsafe import Markup, escape
from quart import Quart, Response

from service.api.openapi.document import document, resolve
from service.api.openapi.operation import Operation, ResponseSpec, Tag

_FILES = files("service.api.openapi") / "templates"
_CODE = re.compile(r"`([^`]+)`")


@dataclass(frozen=True, slots=True)
class DocsPage:
    """The page, and its Content-Security-Policy."""

    html: str
    policy: str


def install(app: Quart) -> None:
    """Add `/docs` to `app`."""

    @cache
    def rendered() -> DocsPage:
        return render(document(app))

    @app.get("/docs")
    @Operation(
        "Get this documentation as a page",
        tag=Tag.OPERATIONS,
        scope="public",
        answers=(ResponseSpec("The page; requests can be tried on it.", str, media="text/html"),),
    )
    async def docs() -> Response:
        response = Response(rendered().html, content_type="text/html; charset=utf-8")
        response.headers["Content-Security-Policy"] = rendered().policy
        response.headers["Referrer-Policy"] = "no-referrer"
        return response


def render(described: Mapping[str, Any]) -> DocsPage:
    """Return the page that shows an OpenAPI document."""
    style, script = _read("docs.css"), _read("docs.js")
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "words": mark_code,
        "json": _json,
        "type": type_of,
        "at": lambda part: _at(described, part),
        "answers": _is_answered,
        "breakable": _break_path,
    }
    html = environment.from_string(_read("docs.html")).render(
        api=described, groups=_groups(described), style=style, script=script
    )
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
    return DocsPage(html, policy)


def mark_code(text: str) -> Markup:
    """Return a description as HTML, with its code in <code> elements."""
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text))))  # noqa: S704  # escaped


def type_of(schema: Mapping[str, Any]) -> Markup:
    """Return a short description of a schema as HTML, with links to the named schemas."""
    if "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        return Markup('<a href="#shape-{0}">{0}</a>').format(name)
    if "const" in schema:
        return Markup("<code>{}</code>").format(repr(schema["const"]).replace("'", '"'))
    for each in ("anyOf", "oneOf"):
        if each in schema:
            return Markup(" or ").join(type_of(one) for one in schema[each])
    if "enum" in schema:
        return Markup(", ").join(Markup("<code>{}</code>").format(one) for one in schema["enum"])
    if schema.get("contentSchema"):
        return Markup("{}, as JSON").format(type_of(schema["contentSchema"]))
    if schema.get("type") == "array":
        return Markup("list of {}").format(type_of(schema.get("items", {})))
    if schema.get("properties"):
        pairs = schema["properties"].items()
        return Markup(", ").join(
            Markup("<code>{}</code>: {}").format(name, type_of(one)) for name, one in pairs
        )
    return Markup("{}").format(_plain_type(schema))


def _plain_type(schema: Mapping[str, Any]) -> str:
    kind = schema.get("type", "anything")
    limits = [
        f"{word} {schema[name]}"
        for name, word in (
            ("minimum", "from"),
            ("exclusiveMinimum", "above"),
            ("maximum", "to"),
            ("minLength", "from"),
            ("maxLength", "to"),
            ("minItems", "from"),
            ("maxItems", "to"),
            ("default", "unless given"),
        )
        if schema.get(name) is not None
    ]
    return f"{kind}, {' '.join(limits)}" if limits else str(kind)


def _groups(described: Mapping[str, Any]) -> Sequence[tuple[Mapping[str, Any], list[Any]]]:
    """Return the tags, each with its operations as (method, path, operation)."""
    operations = [
        (method, path, operation)
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    ]
    return [
        (tag, [each for each in operations if tag["name"] in each[2]["tags"]])
        for tag in described["tags"]
    ]


def _is_answered(operation: Mapping[str, Any]) -> bool:
    """Return whether a form can send a request: a WebSocket has no successful response."""
    return any(status.startswith("2") for status in operation["responses"])


def _break_path(path: str) -> Markup:
    """Return a path as HTML that may be broken before each segment."""
    return Markup("<wbr>").join(f"/{each}" for each in path.split("/")[1:])


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _at(described: Mapping[str, Any], part: Mapping[str, Any]) -> Mapping[str, Any]:
    return resolve(described, part)


def _read(name: str) -> str:
    return (_FILES / name).read_text("utf-8")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
