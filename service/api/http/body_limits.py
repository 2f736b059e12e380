"""Limits of request bodies: one for questions of text, a larger one where images are accepted."""

from __future__ import annotations

from typing import Any, Final

from quart import Quart, Request

from service.settings import Settings

# The addresses whose messages may have parts with images, audio and files.
MEDIA_PATHS: Final = frozenset({"/v1/chat/completions", "/v1/responses"})


def install(app: Quart, settings: Settings) -> None:
    """Limit the time and the size of the request bodies of `app`: beyond them Quart sends 408, 413.

    The larger size is for media only: `read_body` subtracts them from the size of a body.
    """
    app.config["BODY_TIMEOUT"] = settings.body_timeout_s
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes
    larger = max(settings.max_body_bytes, settings.max_media_body_bytes)

    class LimitedRequest(Request):
        def __init__(self, method: str, scheme: str, path: str, *rest: Any, **options: Any) -> None:
            if path in MEDIA_PATHS:
                options["max_content_length"] = larger
            super().__init__(method, scheme, path, *rest, **options)

    app.request_class = LimitedRequest
