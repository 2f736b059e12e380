"""Forms of pages: their fields, the token against CSRF, and the page that follows a login.

A form on a page before the login has no session to protect, but a page of another site could log
a visitor in as another user. Its token is derived from a random cookie that the form's page set.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote

from quart import Response, request

from service.access.opaque_tokens import is_csrf_token, make_csrf_token, new_token
from service.api.middleware.cookies import FORM
from service.errors import RequestError

DEFAULT_PAGE: Final = "/web/"

_IS_FOREIGN = re.compile(r"^//|[\x00-\x1f\x7f\\]")
_LOCAL_PATH = re.compile(r"/(?![/\\])[\x21-\x5b\x5d-\x7e]*")
_MAX_PATH_CHARS = 2_000
_CONTENT_TYPE: Final = "application/x-www-form-urlencoded"
_FORM_LIFETIME_S: Final = 86_400
# Browsers send at least one of them with a form; other programs hold no cookies of a visitor.
_SIGNS_OF_A_BROWSER: Final = ("Origin", "Referer", "Sec-Fetch-Site", "Sec-Fetch-Mode", "Cookie")


def read_next(value: str) -> str:
    """Return the local path that `value` is, else that of the start page.

    Browsers take `//host` and `/\\host` for other hosts, and drop control characters.
    """
    is_local = len(value) <= _MAX_PATH_CHARS and _LOCAL_PATH.fullmatch(value)
    return value if is_local and not _IS_FOREIGN.search(unquote(value)) else DEFAULT_PAGE


async def read_form() -> Mapping[str, str]:
    """Return the fields of the form in the current request.

    Raises RequestError 415; Quart raises 413 and 408.
    """
    if request.mimetype != _CONTENT_TYPE:
        raise RequestError("unsupported_media_type", f"Send a form as {_CONTENT_TYPE}.")
    return (await request.form).to_dict()


def prepare_form_token() -> tuple[str, str]:
    """Return the secret for the cookie of a form's page, and the token for its hidden field."""
    secret = FORM.read(request) or new_token()
    return secret, make_csrf_token(secret)


def set_form_cookie(response: Response, secret: str) -> None:
    """Set the cookie from which the token of the form is derived."""
    FORM.set(response, secret, _FORM_LIFETIME_S)


def has_form_token(form: Mapping[str, str]) -> bool:
    """Return whether the form is from a page of this service, or from no browser at all."""
    if not any(name in request.headers for name in _SIGNS_OF_A_BROWSER):
        return True
    secret = FORM.read(request)
    return bool(secret) and is_csrf_token(form.get("csrf_token", ""), secret)
