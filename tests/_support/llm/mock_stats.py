"""The counters of the mock LLM server."""

from __future__ import annotations

from functools import partial

import httpx

from tests._support.clients.api import until
from tests._support.servers.processes import Process


class Upstream:
    """The counters of the mock LLM."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def stats(self) -> dict[str, int]:
        stats: dict[str, int] = (await self._http.get("/stats")).json()
        return stats

    async def open_streams(self) -> int:
        return (await self.stats())["open_streams"]

    async def closed_early(self) -> int:
        return (await self.stats())["closed_early"]

    async def busy(self) -> bool:
        return await self.open_streams() > 0

    async def quiet(self) -> bool:
        return await self.open_streams() == 0


class OpenCalls:
    """The answers that models are still giving to the impatient service."""

    def __init__(self, llm: Process) -> None:
        self._address = llm.url.replace("/v1", "/stats")

    async def begun(self) -> None:
        """Wait until there are some."""
        await until(partial(self._are_there, True))

    async def ended(self) -> None:
        """Wait until there are none."""
        await until(partial(self._are_there, False))

    async def _are_there(self, wanted: bool) -> bool:
        async with httpx.AsyncClient() as http:
            return bool((await http.get(self._address)).json()["open_streams"]) == wanted
