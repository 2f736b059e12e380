"""`/web/`: the page that a visitor sees first."""

from __future__ import annotations

from quart import Blueprint, Response

from service.api.http.principal import needs_scope
from service.pages.dependencies import PageDependencies


def install(blueprint: Blueprint, pages: PageDependencies) -> None:
    """Add the start page."""

    @blueprint.get("/web/")
    @needs_scope("read")
    async def start_page() -> Response:
        return pages.render("start/start.html")
