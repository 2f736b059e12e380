"""Requests and errors in OpenAI's format."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import httpx


def user(content: Any = "Why is the sky blue?") -> dict[str, Any]:
    return {"role": "user", "content": content}


def make_question() -> str:
    return f"Why is the sky {uuid4().hex}?"


def parse_error(response: httpx.Response) -> dict[str, Any]:
    body = response.json()
    assert body.keys() == {"error"}
    assert body["error"].keys() == {"message", "type", "param", "code"}
    error: dict[str, Any] = body["error"]
    return error
