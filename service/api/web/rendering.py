"""Pages as responses: templates, their style sheet, and the headers that protect them.

A page loads nothing from another origin and has no inline script or style, so that injected text
cannot run. Its style sheet has the hash of its content in its name.
"""

from __future__ import annotations

import hashlib
from importlib.resources import files
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from quart import Quart, Response

from service.api.http.principal import needs_scope

_POLICY: Final = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
_YEAR_S: Final = 31_536_000


class Pages:
    """Renders the templates of this package."""

    def __init__(self) -> None:
        style = (files("service.api.web") / "templates" / "pages.css").read_text("utf-8")
        self.style = style.encode()
        self.style_path = f"/web/static/pages.{hashlib.sha256(self.style).hexdigest()[:16]}.css"
        self._templates = Environment(
            loader=PackageLoader("service.api.web"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def render(self, template: str, status: int = 200, **values: Any) -> Response:
        """Return a page; its template escapes `values`."""
        html = self._templates.get_template(template).render(style_path=self.style_path, **values)
        return _protect(Response(html, status, content_type="text/html; charset=utf-8"))

    def show_message(self, title: str, message: str, status: int = 200) -> Response:
        """Return a page with a sentence."""
        return self.render("message.html", status, title=title, message=message)


def install_style(app: Quart, pages: Pages) -> None:
    """Add the style sheet to `app`."""

    @app.get(pages.style_path)
    @needs_scope("public")
    async def page_style() -> Response:
        response = Response(pages.style, content_type="text/css; charset=utf-8")
        response.headers["Cache-Control"] = f"public, max-age={_YEAR_S}, immutable"
        return response


def redirect_to(path: str) -> Response:
    """Return a redirect to the page at the local `path`."""
    return _protect(Response("", 303, {"Location": path}))


def _protect(response: Response) -> Response:
    response.headers["Content-Security-Policy"] = _POLICY
    response.headers["Referrer-Policy"] = "same-origin"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Cache-Control"] = "no-store"
    return response
