"""Errors of pages: a page with the message for a browser, JSON for scripts and other programs."""

from __future__ import annotations

import json
from typing import Final
from urllib.parse import urlencode

from quart import Quart, Response, request

from service.pages.dependencies import PageDependencies
from service.pages.rendering import is_of_pages, redirect_to

LOGIN_PATH: Final = "/web/login"
_DATA: Final = ("application/json", "text/event-stream")
_LOGGED_OUT: Final = "You are not logged in any more. Log in, then try again."
_KEPT_HEADERS: Final = ("Allow", "Retry-After")
_TITLES: Final = {401: "Not logged in", 403: "Not allowed", 404: "Not found", 410: "Expired"}


def show_errors_as_pages(app: Quart, pages: PageDependencies) -> None:
    """Replace the JSON of an error; a visitor without a login is sent to its page.

    After the login the visitor is sent back to the address of the request.
    """

    @app.after_request
    async def show(response: Response) -> Response:
        is_error = response.status_code >= 400 and response.mimetype == "application/json"
        if not (is_error and is_of_pages(request.path) and wants_html()):
            return response
        if response.status_code == 401 and request.method in ("GET", "HEAD"):
            return redirect_to(f"{LOGIN_PATH}?{urlencode({'next': _requested_path()})}")
        is_known = response.status_code != 401
        message = json.loads(await response.get_data())["error"] if is_known else _LOGGED_OUT
        title = _TITLES.get(response.status_code, "Not possible")
        page = pages.show_message(title, message, response.status_code)
        for name in _KEPT_HEADERS:
            if name in response.headers:
                page.headers[name] = response.headers[name]
        return page


def wants_html() -> bool:
    """Return whether the current request is for a page; the scripts of pages ask for JSON."""
    accepted = request.headers.get("Accept", "*/*").lower()
    return "text/html" in accepted or not any(each in accepted for each in _DATA)


def _requested_path() -> str:
    query = request.query_string.decode("latin-1")
    return f"{request.path}?{query}" if query else request.path
