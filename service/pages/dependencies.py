"""The parts of the service that the pages use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from quart import Response, request

from service.api.dependencies import ApiDependencies
from service.api.http.principal import current_principal
from service.pages.rendering import Templates
from service.pages.visitor import Visitor, current_csrf_token
from service.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class PageDependencies:
    """Passed to every `install(blueprint, pages)`.

    `accounts_on`: whether the service has accounts (AUTH=required).
    """

    api: ApiDependencies
    settings: Settings
    templates: Templates
    accounts_on: bool

    def current_visitor(self) -> Visitor:
        """Return the visitor of the current request."""
        principal = current_principal()
        return Visitor(
            principal=principal,
            accounts_on=self.accounts_on,
            csrf_token=current_csrf_token(),
            path=request.path,
        )

    def render(self, template: str, status: int = 200, **values: Any) -> Response:
        """Return a page for the current visitor; its template escapes `values`."""
        return self.templates.render(template, self.current_visitor(), status, values)

    def show_message(self, title: str, message: str, status: int = 200) -> Response:
        """Return a page with a sentence."""
        return self.render("message.html", status, title=title, message=message)
