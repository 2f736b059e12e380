"""The ensembles and agents of an LLM SSE Service as models of the program `llm`.

The service is the one at LLM_SSE_URL (http://localhost:8080). A key, where it needs one, is that of
`--key`, of `llm keys set llm-sse`, or LLM_SSE_API_KEY.
"""

from __future__ import annotations

import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import llm
from llm.default_plugins.openai_models import AsyncChat, Chat

URL = "LLM_SSE_URL"
KEY = "LLM_SSE_API_KEY"
KEY_ALIAS = "llm-sse"
DEFAULT_URL = "http://localhost:8080"
LIST_FILE = "llm-sse-models.json"
LIST_LIFETIME_S = 60.0
LIST_TIMEOUT_S = 2.0


class EnsembleChat(Chat):
    """An ensemble, or one agent, that answers a chat."""

    needs_key = None

    def __str__(self) -> str:
        return f"LLM SSE Service: {self.model_id}"

    def get_client(self, key: str | None, *, async_: bool = False) -> Any:
        """Return OpenAI's client for the service."""
        return set_key(super().get_client(key, async_=async_), key)


class AsyncEnsembleChat(AsyncChat):
    """The same for asyncio."""

    needs_key = None

    def __str__(self) -> str:
        return f"LLM SSE Service: {self.model_id}"

    def get_client(self, key: str | None, *, async_: bool = False) -> Any:
        """Return OpenAI's client for the service."""
        return set_key(super().get_client(key, async_=async_), key)


@llm.hookimpl
def register_models(register: Callable[..., None]) -> None:
    """Register every model that the service lists."""
    url = os.environ.get(URL, DEFAULT_URL).rstrip("/")
    for model_id in list_models(url):
        options = {
            "model_id": model_id,
            "model_name": model_id,
            "api_base": f"{url}/v1",
            "vision": True,
            "supports_schema": True,
            "supports_tools": True,
        }
        register(EnsembleChat(**options), AsyncEnsembleChat(**options))


def set_key(client: Any, key: str | None) -> Any:
    """Let `client` send the user's key, if there is one, and return it."""
    found = find_key(key)
    if found:
        client.api_key = found
    return client


def find_key(key: str | None = None) -> str | None:
    """Return the key to send, None if the user has set none."""
    found: str | None = llm.get_key(key, KEY_ALIAS, KEY)
    return found


def list_models(url: str) -> list[str]:
    """Return the models of the service at `url`.

    The list is requested at most once in a minute. Without an answer the last list is returned, so
    that `llm` works for other models while the service is down.
    """
    file = llm.user_dir() / LIST_FILE
    known = _read(file, url)
    if known and time.time() - known["at"] < LIST_LIFETIME_S:
        return list(known["models"])
    try:
        models = _request(url)
    except (OSError, ValueError, KeyError, TypeError):
        return list(known["models"]) if known else []
    with suppress(OSError):  # a folder that cannot be written costs a request each time
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"url": url, "at": time.time(), "models": models}))
    return models


def _request(url: str) -> list[str]:
    request = urllib.request.Request(f"{url}/v1/models")  # noqa: S310
    if key := find_key():
        request.add_header("Authorization", f"Bearer {key}")
    with urllib.request.urlopen(request, timeout=LIST_TIMEOUT_S) as response:  # noqa: S310
        return [str(each["id"]) for each in json.load(response)["data"]]


def _read(file: Any, url: str) -> dict[str, Any] | None:
    """Return the stored list if it is one of this service."""
    try:
        known: dict[str, Any] = json.loads(file.read_text())
    except (OSError, ValueError):
        return None
    return known if known.get("url") == url else None
