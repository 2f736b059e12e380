"""Pages as responses: templates, and the headers that protect them.

A page loads nothing from another origin and has no inline script or style, so that injected text
cannot run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from jinja2 import Environment, PackageLoader, StrictUndefined
from quart import Quart, Response, request

from service.pages.assets import Assets
from service.pages.visitor import Visitor
from service.pages.words import FILTERS
from service.version import VERSION

_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


class Templates:
    """The templates of this package, as pages.

    Every template can use `visitor` (a `Visitor`), `asset(name)` (the address of a static file),
    `scripts(name)` (those of a script and all that it imports), `version`, and the filters of
    `service.pages.words`.
    """

    def __init__(self, assets: Assets) -> None:
        self._templates = Environment(
            loader=PackageLoader("service.pages"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.globals.update(
            asset=assets.path_of, scripts=assets.scripts_of, version=VERSION
        )
        self._templates.filters.update(FILTERS)

    def render(
        self, template: str, visitor: Visitor, status: int, values: Mapping[str, Any]
    ) -> Response:
        """Return a page; its template escapes `values`."""
        html = self._templates.get_template(template).render(visitor=visitor, **values)
        return Response(html, status, content_type="text/html; charset=utf-8")


def redirect_to(path: str) -> Response:
    """Return a redirect to the page at the local `path`."""
    return Response("", 303, {"Location": path})


def install_headers(app: Quart) -> None:
    """Protect every response below `/web`, also errors, redirects, streams and static files."""

    @app.after_request
    async def protect(response: Response) -> Response:
        if is_of_pages(request.path):
            response.headers["Content-Security-Policy"] = _POLICY
            response.headers["Referrer-Policy"] = "same-origin"
            response.headers["X-Content-Type-Options"] = "nosniff"
            _keep_on_this_host(response)
        return response


def is_of_pages(path: str) -> bool:
    """Return whether an address belongs to the pages."""
    return path == "/web" or path.startswith("/web/")


def _keep_on_this_host(response: Response) -> None:
    """Make a redirect local: the header `Host` is the client's, and a proxy may add TLS."""
    if location := response.headers.get("Location"):
        target = urlsplit(location)
        path = f"/{target.path.lstrip('/')}"
        response.headers["Location"] = urlunsplit(("", "", path, target.query, target.fragment))
