"""A visitor with a browser's cookies, who registers, logs in and uses the account addresses."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from tests._support.patience import PATIENCE_S
from tests._support.servers.processes import Process

PASSWORD = "correct horse battery"

_CODE = re.compile(r"with the code (\w+),")


@dataclass
class Visitor:
    """An HTTP client with the cookies and the token against CSRF of its last login."""

    http: httpx.AsyncClient
    csrf_token: str = ""

    async def register(self, name: str, **fields: Any) -> httpx.Response:
        body = {"name": name, "password": PASSWORD, **fields}
        return await self.http.post("/api/auth/register", json=body)

    async def log_in(self, name: str, password: str = PASSWORD) -> httpx.Response:
        body = {"name": name, "password": password}
        response = await self.http.post("/api/auth/login", json=body)
        if response.status_code == 200:
            self.csrf_token = response.json()["csrf_token"]
        return response

    async def send(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request with the token against CSRF, as the pages' scripts do."""
        headers = {"X-CSRF-Token": self.csrf_token, **options.pop("headers", {})}
        return await self.http.request(method, path, headers=headers, **options)

    async def enter(self, name: str, **fields: Any) -> None:
        """Register and log in."""
        registered = await self.register(name, **fields)
        assert registered.status_code == 201, registered.text
        logged_in = await self.log_in(name)
        assert logged_in.status_code == 200, logged_in.text


@asynccontextmanager
async def visiting(url: str) -> AsyncIterator[Visitor]:
    """Yield a visitor of the service at `url`, without cookies."""
    async with httpx.AsyncClient(base_url=url, timeout=PATIENCE_S, verify=False) as http:
        yield Visitor(http)


def code_of(process: Process) -> str:
    """Return the code for the first administrator that a service has printed."""
    found = _CODE.search(process.err)
    assert found, process.err
    return found[1]
