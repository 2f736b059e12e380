"""A service that is reached by its URL.

A connection that breaks is replaced: with the id of the last event where there is one, before that
with the same idempotency key, so that no question is asked twice.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack, suppress
from typing import Any, Final

import httpx

from service.ids import new_id
from service.terminal.feed import AskedQuestion, AskFailed, RunEventFields
from service.version import VERSION

_CONNECT_S: Final = 10.0
_SILENCE_S: Final = 60.0  # services send a comment every 15 s by default
_WAITS_S: Final = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)  # before each new connection
_BROKEN = (httpx.TransportError, httpx.StreamError)
_LAST_PORT: Final = 65_535
_GATEWAY: Final = frozenset({502, 503, 504})


class RemoteService:
    """A service at a URL; an `api_key` is sent as `Authorization: Bearer`."""

    def __init__(self, url: str, api_key: str | None) -> None:
        self.http = open_client(url, api_key)

    def ask(self, question: AskedQuestion) -> RemoteFeed:
        """Return the events of a new run."""
        return RemoteFeed(self.http, question=question)

    def resume(self, run_id: str) -> RemoteFeed:
        """Return all events of an existing run, from the first."""
        return RemoteFeed(self.http, run_id=run_id)

    async def close(self) -> None:
        """Close all connections."""
        await self.http.aclose()


def open_client(url: str, api_key: str | None) -> httpx.AsyncClient:
    """Return an HTTP client of the service at `url`. Raises AskFailed for a malformed URL."""
    address = url if "://" in url else f"http://{url}"
    try:
        parsed = httpx.URL(address)
    except httpx.InvalidURL as error:
        raise AskFailed(f"--url {url}: {error}", is_usage=True) from None
    is_port = parsed.port is None or 0 < parsed.port <= _LAST_PORT
    if parsed.scheme not in ("http", "https") or not parsed.host or not is_port:
        raise AskFailed(f"--url {name_address(parsed)} is no address of a service.", is_usage=True)
    headers = {"User-Agent": f"llm-sse/{VERSION}"}
    if api_key:
        headers["Authorization"] = f"Bearer {_check_key(api_key)}"
    limits = httpx.Timeout(_SILENCE_S, connect=_CONNECT_S)
    try:
        return httpx.AsyncClient(base_url=parsed, headers=headers, timeout=limits)
    except (httpx.InvalidURL, ImportError, OSError, ValueError) as error:
        # Of HTTP_PROXY and its kin, and SSL_CERT_FILE.
        raise AskFailed(
            f"The variables for proxies or certificates cannot be used: {error}", is_usage=True
        ) from None


def name_address(url: httpx.URL) -> str:
    """Return an address for messages: without the password that it may contain."""
    return str(url.copy_with(userinfo=b""))


def describe_refusal(response: httpx.Response) -> str:
    """Return the sentence of an error response that has been read."""
    with suppress(ValueError, AttributeError, TypeError):
        message = response.json()["error"]
        return str(message if isinstance(message, str) else message["message"])
    return f"{name_address(response.url)} answered {response.status_code} {response.reason_phrase}"


def _check_key(api_key: str) -> str:
    if not api_key.isascii() or not api_key.isprintable() or " " in api_key:
        raise AskFailed("The key has characters that no key can have.", is_usage=True)
    return api_key


class RemoteFeed:
    """The events of one run of a service, over as many connections as it takes."""

    def __init__(
        self, http: httpx.AsyncClient, *, question: AskedQuestion | None = None, run_id: str = ""
    ) -> None:
        self._http = http
        self._body = question.to_fields() if question else None
        self._key = new_id("ask")
        self._run_id = run_id
        self._last_id = ""
        self._is_over = False
        self._failures = 0
        self._connection = AsyncExitStack()
        self._lines: Any = None

    async def next_event(self) -> RunEventFields | None:
        """Return the next event, None behind the last one. Raises AskFailed."""
        while not self._is_over:
            try:
                if self._lines is None:
                    await self._connect()
                elif event := await self._read_event():
                    return event
                else:  # the response ended, and the run has not
                    await self._reconnect("the connection was closed")
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                await self._reconnect(_name(error), was_open=bool(self._last_id))
            except _BROKEN as error:
                await self._reconnect(_name(error))
        return None

    async def cancel(self) -> None:
        """Cancel the run; its last events follow. Raises AskFailed."""
        if not self._run_id:
            self._is_over = True  # no event was received, so no run is known
            return
        try:
            response = await self._http.post(f"/api/runs/{self._run_id}/cancel")
        except _BROKEN as error:
            raise AskFailed(f"The run could not be cancelled: {_name(error)}") from None
        if response.is_error:
            raise AskFailed(f"The run could not be cancelled: {describe_refusal(response)}")

    async def close(self) -> None:
        """Stop reading."""
        self._lines = None
        await self._connection.aclose()
        self._connection = AsyncExitStack()

    async def _connect(self) -> None:
        if self._run_id:
            headers = {"Last-Event-ID": self._last_id} if self._last_id else {}
            sent = self._http.stream("GET", f"/api/runs/{self._run_id}/events", headers=headers)
        else:
            headers = {"Idempotency-Key": self._key}
            sent = self._http.stream("POST", "/api/process", json=self._body, headers=headers)
        response = await self._connection.enter_async_context(sent)
        if response.status_code == 204:  # nothing follows the last event
            self._is_over = True
        elif response.is_error:
            await self._refuse(response)
        elif not response.headers.get("Content-Type", "").startswith("text/event-stream"):
            raise AskFailed(f"{name_address(response.url)} is no LLM SSE Service.", is_usage=True)
        else:
            self._run_id = response.headers.get("X-Run-Id", self._run_id)
            self._lines = response.aiter_lines()

    async def _refuse(self, response: httpx.Response) -> None:
        await response.aread()
        is_resuming = bool(self._last_id) or self._failures
        if is_resuming and response.status_code in _GATEWAY:  # a restart, or a proxy during it
            await self._reconnect(describe_refusal(response))
        else:
            raise AskFailed(describe_refusal(response))

    async def _read_event(self) -> RunEventFields | None:
        """Return the next event of this connection, None at its end."""
        event_id = ""
        async for line in self._lines:
            if line.startswith("id:"):
                event_id = line[3:].strip()
            elif line.startswith("data:"):
                event: RunEventFields = json.loads(line[5:])
                self._note(event_id, event)
                return event
        return None

    def _note(self, event_id: str, event: RunEventFields) -> None:
        self._failures = 0
        self._last_id = event_id
        self._run_id = event.get("run_id", self._run_id)
        self._is_over = bool(event.get("final"))

    async def _reconnect(self, reason: str, *, was_open: bool = True) -> None:
        """Wait for the next connection. Raises AskFailed when none has helped.

        `was_open`: a connection to the service existed before, so that its address is right.
        """
        await self.close()
        if self._failures == len(_WAITS_S) or not (was_open or self._failures):
            where = f" --resume {self._run_id} continues the run." if self._run_id else ""
            address = name_address(self._http.base_url)
            raise AskFailed(f"{address} cannot be reached: {reason}.{where}")
        await asyncio.sleep(_WAITS_S[self._failures])
        self._failures += 1


def _name(error: Exception) -> str:
    return str(error).rstrip(".") or type(error).__name__
