"""A transport that plays model servers with a given timing for each request."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests._support.llm.scripted import DONE, chunk, event


@dataclass(frozen=True, slots=True)
class Timing:
    """The delays of one response: until its first token, between tokens, and a silence.

    The silence of `silent_s` follows `silent_after` tokens.
    """

    first_s: float = 0.5
    tokens: int = 10
    gap_s: float = 0.01
    silent_after: int | None = None
    silent_s: float = 0.0
    status: int = 200


class PacedServer(httpx.AsyncBaseTransport):
    """Answers each request with the timing that `choose` returns for the name of its model.

    `asked` has the models of all requests in their order, `cancelled` those of responses that the
    client left before their end, `hosts` and `keys` the host and the key of each request.
    """

    def __init__(self, choose: Callable[[str], Timing]) -> None:
        self._choose = choose
        self.asked: list[str] = []
        self.hosts: list[str] = []
        self.keys: list[str] = []
        self.cancelled: list[str] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        asked = json.loads(await request.aread())
        model = asked["model"]
        self.asked.append(model)
        self.hosts.append(request.url.host)
        self.keys.append(request.headers.get("authorization", ""))
        timing = self._choose(model)
        if timing.status != 200:
            await asyncio.sleep(timing.first_s)
            return httpx.Response(timing.status, json={"error": {"message": "No."}})
        if not asked.get("stream"):
            body = _PacedBody(self, model, timing)
            return httpx.Response(200, json=await body.join())
        headers = {"content-type": "text/event-stream"}
        return httpx.Response(200, headers=headers, stream=_PacedBody(self, model, timing))


@dataclass
class _PacedBody(httpx.AsyncByteStream):
    server: PacedServer
    model: str
    timing: Timing
    is_complete: bool = field(default=False, init=False)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        timing = self.timing
        await asyncio.sleep(timing.first_s)
        for number in range(timing.tokens):
            if number:
                await asyncio.sleep(timing.gap_s)
            if number == timing.silent_after:
                await asyncio.sleep(timing.silent_s)
            yield chunk(f"w{number} ")
        usage = {"prompt_tokens": 5, "completion_tokens": timing.tokens}
        yield chunk(finish="stop") + event({"choices": [], "usage": usage})
        self.is_complete = True
        yield DONE

    async def join(self) -> dict[str, Any]:
        """Return the response as one JSON document, after the time that the stream takes."""
        try:
            async for _ in self:
                pass
        finally:
            await self.aclose()
        text = "".join(f"w{number} " for number in range(self.timing.tokens))
        message = {"role": "assistant", "content": text}
        return {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}

    async def aclose(self) -> None:
        if not self.is_complete:
            self.server.cancelled.append(self.model)
