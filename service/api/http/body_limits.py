"""Limits of request bodies: one for questions of text, a larger one where images are accepted.

Large bodies are validated one after the other.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, Final

from quart import Quart, Request, current_app

from service.settings import Settings

# The addresses whose messages may have parts with images, audio and files.
MEDIA_PATHS: Final = frozenset({"/v1/chat/completions", "/v1/responses"})

_QUEUE: Final = "LARGE_BODIES"  # in the configuration of the app
_LARGE_BODY_BYTES = 16_384
# The time for other tasks after each body, as a multiple of its own. The run of a long conversation
# takes about as long as its validation did.
_PAUSE_FACTOR = 2.0


class LargeBodies:
    """One queue of the large bodies of a process: validation uses a third of the time at most.

    A body of 170 KB with 5,000 items takes 80 ms to validate: 40 that arrived together stopped all
    streams for 3 s. An asynchronous context manager; the pause follows its end.
    """

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._since = 0.0

    async def __aenter__(self) -> None:
        await self._lock.acquire()
        self._since = asyncio.get_running_loop().time()

    async def __aexit__(self, *_error: object) -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(_PAUSE_FACTOR * (loop.time() - self._since), self._lock.release)


def turn_of(size_bytes: int) -> AbstractAsyncContextManager[None]:
    """Return the context in which a body of this size is validated: a small one has no queue."""
    if size_bytes < _LARGE_BODY_BYTES:
        return nullcontext()
    queue: LargeBodies = current_app.config[_QUEUE]
    return queue


def install(app: Quart, settings: Settings) -> None:
    """Limit the time and the size of the request bodies of `app`: beyond them Quart sends 408, 413.

    The larger size is for media only: `read_body` subtracts them from the size of a body.
    """
    app.config[_QUEUE] = LargeBodies()
    app.config["BODY_TIMEOUT"] = settings.body_timeout_s
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes
    larger = max(settings.max_body_bytes, settings.max_media_body_bytes)

    class LimitedRequest(Request):
        def __init__(self, method: str, scheme: str, path: str, *rest: Any, **options: Any) -> None:
            if path in MEDIA_PATHS:
                options["max_content_length"] = larger
            super().__init__(method, scheme, path, *rest, **options)

    app.request_class = LimitedRequest
