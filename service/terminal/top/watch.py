"""`top`: the pictures of a service, one after the other."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass
from typing import Any

import httpx
from rich.console import Console
from rich.live import Live
from rich.text import Text

from service.terminal.background_loop import BackgroundLoop
from service.terminal.feed import AskFailed
from service.terminal.outputs import write, write_in_thread
from service.terminal.remote import describe_refusal, name_address, open_client
from service.terminal.terminal_modes import MODES
from service.terminal.top.picture import ServicePicture, compare
from service.terminal.top.samples import MetricSamples, parse_metrics
from service.terminal.top.screen import render_picture

_LINES_BESIDE_ROWS = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class TopOptions:
    """Options of `top`."""

    url: str
    api_key: str | None
    interval_s: float
    once: bool
    as_json: bool


def watch(loop: BackgroundLoop, options: TopOptions) -> int:
    """Show a service until Ctrl-C. Raises AskFailed when it cannot be read at the start."""
    http = open_client(options.url, options.api_key)
    top = Top(http, options)
    try:
        loop.run(top.run(), top.stop)
    except BrokenPipeError:
        return 141
    except OSError as error:
        raise AskFailed(f"The output cannot be written: {error.strerror}.") from None
    finally:
        loop.run(http.aclose())
    return 0


class Top:
    """Reads the metrics of a service at an interval, and shows the differences."""

    def __init__(self, http: httpx.AsyncClient, options: TopOptions) -> None:
        self._http = http
        self._options = options
        self._address = name_address(http.base_url)
        self._console = Console()
        self._stopped = asyncio.Event()
        self._earlier: MetricSamples | None = None

    def stop(self) -> None:
        """End `run` after the current picture."""
        self._stopped.set()

    async def run(self) -> None:
        """Show pictures. Raises AskFailed when the first one fails, and BrokenPipeError."""
        picture = await self._read()
        if self._options.once:
            await self._print(picture)
            return
        is_live = self._console.is_terminal and not self._options.as_json
        if not is_live or self._console.is_dumb_terminal:
            while not self._stopped.is_set():
                await self._print(picture)
                await self._pause()
                picture = await self._read_patiently() or picture
            return
        MODES.hide_keys(uses_screen=True)
        try:
            await self._draw(picture)
        finally:
            MODES.restore()

    async def _draw(self, picture: ServicePicture) -> None:
        with Live(console=self._console, screen=True, auto_refresh=False) as live:
            shown = self._render(picture)
            while not self._stopped.is_set():
                live.update(shown, refresh=True)
                await self._pause()
                if found := await self._read_patiently():
                    shown = self._render(found)
                else:
                    shown = Text(f"{self._address} does not answer; trying again.", "yellow")

    async def _pause(self) -> None:
        try:
            await asyncio.wait_for(self._stopped.wait(), self._options.interval_s)
        except TimeoutError:
            return

    async def _read_patiently(self) -> ServicePicture | None:
        """Return the next picture, None while the service cannot be reached."""
        try:
            return await self._read()
        except AskFailed:
            return None

    async def _read(self) -> ServicePicture:
        try:
            metrics = parse_metrics((await self._get("/metrics")).text)
            health = (await self._get("/health", accepts_errors=True)).json()
        except ValueError:
            raise AskFailed(f"{self._address} is no LLM SSE Service.", is_usage=True) from None
        picture = compare(self._earlier, metrics, health)
        self._earlier = metrics
        return picture

    async def _get(self, path: str, *, accepts_errors: bool = False) -> httpx.Response:
        try:
            response = await self._http.get(path)
        except httpx.HTTPError as error:
            raise AskFailed(f"{self._address} cannot be reached: {error}") from None
        if response.is_error and not accepts_errors:
            raise AskFailed(f"{path}: {describe_refusal(response)}")
        return response

    async def _print(self, picture: ServicePicture) -> None:
        if self._options.as_json:
            await write(sys.stdout, json.dumps(picture.to_json()) + "\n")
        else:
            await write_in_thread(lambda: self._console.print(self._render(picture)))

    def _render(self, picture: ServicePicture) -> Any:
        is_screen = self._console.is_terminal and not self._options.once
        rows = max(3, (self._console.height - _LINES_BESIDE_ROWS) // 2) if is_screen else None
        return render_picture(picture, self._address, max_rows=rows)
