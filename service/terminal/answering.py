"""One question: its events read and shown, its end as an exit code."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from enum import IntEnum
from typing import Any

from service.terminal.feed import AskFailed, RunEventFields, RunFeed
from service.terminal.outputs import RunOutput, report
from service.terminal.panels import format_cost
from service.terminal.run_view import WatchedRun
from service.terminal.safe_text import make_line

_CANCEL_S = 10.0  # for the last event of a cancelled run


class ExitCode(IntEnum):
    """The exit codes of `ask`."""

    ANSWERED = 0
    FAILED = 1
    USAGE = 2
    DEGRADED = 3
    INTERRUPTED = 130
    BROKEN_PIPE = 141


class Answering:
    """Reads and shows one run. `interrupt` may be called while `run` is awaited."""

    def __init__(
        self, feed: RunFeed, view: WatchedRun, output: RunOutput, *, is_strict: bool = False
    ) -> None:
        self.view = view
        self._feed = feed
        self._output = output
        self._is_strict = is_strict
        self._interrupted = asyncio.Event()
        self._is_output_lost = False

    def interrupt(self) -> None:
        """Cancel the run; `run` then shows its end."""
        self._interrupted.set()

    async def run(self) -> ExitCode:
        """Show the run and return the exit code of its end."""
        try:
            code = await self._follow()
        except AskFailed as error:
            await self._finish_output()
            await report(f"{make_line(str(error))}\n")
            if self._interrupted.is_set():
                return ExitCode.INTERRUPTED
            return ExitCode.USAGE if error.is_usage else ExitCode.FAILED
        except OSError as error:
            with suppress(AskFailed):
                await self._cancel()
            if isinstance(error, BrokenPipeError):
                return ExitCode.BROKEN_PIPE
            await report(f"The output cannot be written: {error.strerror}.\n")
            code = ExitCode.FAILED
        finally:
            await self._feed.close()
        await report(self._summary())
        return code

    async def _follow(self) -> ExitCode:
        stop = asyncio.ensure_future(self._interrupted.wait())
        showing: asyncio.Future[None] | None = None
        try:
            while event := await self._next_event(stop):
                showing = asyncio.ensure_future(self._show(event))
                await asyncio.wait([showing, stop], return_when=asyncio.FIRST_COMPLETED)
                if not showing.done():  # the reader of the output pauses
                    break
                showing.result()
            if stop.done():
                await self._cancel(showing)
        finally:
            stop.cancel()
        await self._finish_output()
        return self._exit_code()

    async def _next_event(self, stop: asyncio.Future[Any]) -> RunEventFields | None:
        """Return the next event, None behind the last one and when `stop` is done before."""
        reading = asyncio.ensure_future(self._feed.next_event())
        await asyncio.wait([reading, stop], return_when=asyncio.FIRST_COMPLETED)
        if not stop.done():
            return reading.result()
        reading.cancel()
        await asyncio.wait([reading])
        if reading.cancelled() or reading.exception():
            return None
        return reading.result()

    async def _show(self, event: RunEventFields) -> None:
        self.view.apply(event)
        if self._is_output_lost:
            return
        try:
            await self._output.show(event)
        except OSError:
            self._is_output_lost = True
            raise

    async def _cancel(self, showing: asyncio.Future[None] | None = None) -> None:
        """Cancel the run and show its last events, within a limit of time."""
        await self._feed.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(_CANCEL_S):
                if showing:
                    await _settle(showing)
                while event := await self._feed.next_event():
                    await _settle(self._show(event))

    async def _finish_output(self) -> None:
        if not self._is_output_lost:
            with suppress(OSError):
                await self._output.finish()

    def _exit_code(self) -> ExitCode:
        outcome = self.view.outcome
        if self._interrupted.is_set():
            return ExitCode.INTERRUPTED
        if outcome is None or outcome["type"] != "run.finished":
            return ExitCode.FAILED
        is_degraded = bool(outcome.get("degraded")) and self._is_strict
        return ExitCode.DEGRADED if is_degraded else ExitCode.ANSWERED

    def _summary(self) -> str:
        """Return the lines for the standard error: faults, and the run with its cost."""
        view, outcome = self.view, self.view.outcome or {}
        lines = []
        if self._interrupted.is_set():
            lines.append("Interrupted.")
        elif outcome.get("type") == "run.failed":
            lines.append(f"Failed: {make_line(outcome['message'])}")
        elif not outcome:
            lines.append("The events of the run ended before its end.")
        lines += [
            f"{each.name} {each.state}: {make_line(each.note)}"
            for each in view.agents.values()
            if each.state in ("failed", "skipped")
        ]
        if view.run_id:
            tokens = (outcome.get("usage") or {}).get("total_tokens", 0)
            facts = [view.run_id, view.conversation_id, f"{view.elapsed_s:.1f} s"]
            facts += [f"{tokens} tokens", format_cost(view.cost_usd) or "no price"]
            lines.append(" · ".join(facts))
        return "".join(f"{line}\n" for line in lines)


async def _settle(showing: Awaitable[None]) -> None:
    """Wait for the output; a lost one does not matter any more."""
    with suppress(OSError):
        await showing
