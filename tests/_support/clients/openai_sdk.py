"""OpenAI's SDK for Python as a client of the service, and requests for it."""

from __future__ import annotations

from typing import Any

import httpx
import openai
import pytest
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionChunk

from tests._support.patience import PATIENCE_S
from tests._support.servers.processes import Process

USER: Any = [{"role": "user", "content": "Why is the sky blue?"}]
PIXEL = "data:image/png;base64,iVBORw0KGgo="


def client_of(process: Process, **options: Any) -> AsyncOpenAI:
    told: dict[str, Any] = {"timeout": PATIENCE_S, "max_retries": 0, **options}
    return AsyncOpenAI(base_url=f"{process.url}/v1", api_key="any", **told)


def shown(service: Process, run_id: str) -> dict[str, Any]:
    """Return the run resource."""
    run: dict[str, Any] = httpx.get(f"{service.url}/api/runs/{run_id}").json()
    return run


def text_of(chunks: list[ChatCompletionChunk]) -> str:
    return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)


async def streamed(client: AsyncOpenAI, **fields: Any) -> list[ChatCompletionChunk]:
    asked = {"model": "fanout", "messages": USER, "stream": True, **fields}
    return [chunk async for chunk in await client.chat.completions.create(**asked)]


async def refused(client: AsyncOpenAI, **fields: Any) -> openai.APIStatusError:
    """Return the error that a request without a stream gets; with one it must be the same."""
    asked = {"model": "fanout", "messages": USER, **fields}
    errors = []
    for stream in (False, True):
        with pytest.raises(openai.APIStatusError) as caught:
            await client.chat.completions.create(stream=stream, **asked)
        errors.append(caught.value)
    first, second = errors
    assert (type(first), first.code, first.param) == (type(second), second.code, second.param)
    return first
