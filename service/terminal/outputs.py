"""Where the events of a run are shown: panels, plain text, or lines of JSON."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol, TextIO

from rich.console import Console
from rich.live import Live

from service.terminal.feed import RunEventFields
from service.terminal.panels import LivePanels, render_answer
from service.terminal.run_view import WatchedRun
from service.terminal.safe_text import make_printable
from service.terminal.terminal_modes import MODES

_PICTURES_PER_S = 12


class RunOutput(Protocol):
    """Shows one run; `show` and `finish` raise OSError when the output is lost."""

    async def show(self, event: RunEventFields) -> None:
        """Show an event, which the view of the run contains already."""

    async def finish(self) -> None:
        """Show what remains after the last event."""


class JsonLines:
    """Every event as one line of JSON on the standard output."""

    async def show(self, event: RunEventFields) -> None:
        """Write the event."""
        await write(sys.stdout, json.dumps(event) + "\n")

    async def finish(self) -> None:
        """Do nothing."""


class PlainText:
    """The answer's text as it arrives; with `is_terminal` without control characters.

    A pipe receives exactly the answer. An answer that starts again is written again from its
    start; `waits_for_end` avoids that.
    """

    def __init__(self, view: WatchedRun, *, is_terminal: bool, waits_for_end: bool) -> None:
        self._view = view
        self._is_terminal = is_terminal
        self._waits_for_end = waits_for_end
        self._has_written = False
        self._last = ""

    async def show(self, event: RunEventFields) -> None:
        """Write the text of an event."""
        if event["type"] == "answer.delta" and not self._waits_for_end:
            await self._write(event["message"])
        elif event["type"] == "answer.reset" and self._has_written:
            await self._write("\n\n")
            await report("The answer broke off and starts again below.\n")

    async def finish(self) -> None:
        """Write the line feed at the end; before it the answer if it has been held back."""
        if self._waits_for_end and self._view.answer:
            await self._write(self._view.text)
        if self._has_written and not self._last.endswith("\n"):
            await self._write("\n")

    async def _write(self, text: str) -> None:
        self._has_written, self._last = True, text
        await write(sys.stdout, make_printable(text) if self._is_terminal else text)


class Panels:
    """Live panels, in place of which the complete answer remains."""

    def __init__(self, view: WatchedRun, console: Console) -> None:
        self._view = view
        self._console = console
        self._live: Live | None = None

    async def show(self, _event: RunEventFields) -> None:
        """Start the panels with the first event; they draw themselves."""
        if self._live is None:
            self._live = Live(
                LivePanels(self._view),
                console=self._console,
                refresh_per_second=_PICTURES_PER_S,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            MODES.hide_keys()
            await asyncio.to_thread(self._live.start)

    async def finish(self) -> None:
        """Remove the panels and print the answer."""
        if self._live:
            try:
                await write_in_thread(self._live.stop)
            finally:
                MODES.restore()
                self._live = None
        if self._view.answer:
            answer = render_answer(self._view.text)
            await write_in_thread(lambda: self._console.print(answer))


def choose_output(view: WatchedRun, *, as_json: bool, waits_for_end: bool) -> RunOutput:
    """Return the output for the standard output of this process."""
    if as_json:
        return JsonLines()
    console = Console()
    if console.is_terminal and not console.is_dumb_terminal and not waits_for_end:
        return Panels(view, console)
    return PlainText(view, is_terminal=sys.stdout.isatty(), waits_for_end=waits_for_end)


async def write(stream: TextIO, text: str) -> None:
    """Write and flush. Raises OSError."""

    def write_now() -> None:
        stream.write(text)
        stream.flush()

    await write_in_thread(write_now)


async def report(text: str) -> None:
    """Write to the standard error; a failure has no other place where it could be reported."""
    with suppress(OSError):
        await write(sys.stderr, text)


async def write_in_thread(write_now: Callable[[], object]) -> None:
    """Write without stopping the event loop while the reader of a full pipe pauses.

    Raises OSError. What is still buffered is then discarded: Python would try it again at its exit.
    """
    try:
        await asyncio.to_thread(write_now)
    except OSError:
        _discard_output()
        raise


def _discard_output() -> None:
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
