"""All pages on one blueprint: their addresses, files and errors."""

from __future__ import annotations

from quart import Blueprint, Quart, Response

from service.api.dependencies import ApiDependencies
from service.api.http.principal import needs_scope
from service.errors import RequestError
from service.pages.accounts import account, logins
from service.pages.admin import admin
from service.pages.assets import Assets, install_assets
from service.pages.chat import chat
from service.pages.conversations import conversation_pages
from service.pages.dependencies import PageDependencies
from service.pages.errors import show_errors_as_pages
from service.pages.rendering import Templates, install_headers
from service.pages.runs import run_page
from service.pages.start import start
from service.settings import Settings

AREAS = (start, chat, run_page, conversation_pages, logins, account, admin)


def install(app: Quart, api: ApiDependencies, settings: Settings) -> None:
    """Add the pages to `app`."""
    assets = Assets()
    pages = PageDependencies(
        api=api,
        settings=settings,
        templates=Templates(assets),
        accounts_on=api.account_services.is_on,
    )
    blueprint = Blueprint("pages", __name__, static_folder=None)
    install_assets(blueprint, assets)
    for area in AREAS:
        area.install(blueprint, pages)

    @blueprint.get("/web/<path:rest>")
    @needs_scope("public")
    async def unknown_page(rest: str) -> Response:
        raise RequestError("not_found", f"There is no page /web/{rest[:100]}.")

    app.register_blueprint(blueprint)
    install_headers(app)  # runs after the next, which may replace the response
    show_errors_as_pages(app, pages)
