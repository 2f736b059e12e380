"""One question: its events read and shown, its end as an exit code."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from enum import IntEnum

from service.terminal.feed import AskFailed, RunFeed
from service.terminal.outputs import RunOutput, write
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

    def interrupt(self) -> None:
        """Cancel the run; `run` then shows its end."""
        self._interrupted.set()

    async def run(self) -> ExitCode:
        """Show the run and return the exit code of its end."""
        try:
            code = await self._follow()
        except BrokenPipeError:
            with suppress(AskFailed, TimeoutError):
                await self._cancel()
            return ExitCode.BROKEN_PIPE
        except AskFailed as error:
            await self._finish_output()
            await write(sys.stderr, f"{make_line(str(error))}\n")
            if self._interrupted.is_set():
                return ExitCode.INTERRUPTED
            return ExitCode.USAGE if error.is_usage else ExitCode.FAILED
        finally:
            await self._feed.close()
        await write(sys.stderr, self._summary())
        return code

    async def _follow(self) -> ExitCode:
        stop = asyncio.ensure_future(self._interrupted.wait())
        try:
            while True:
                step = asyncio.ensure_future(self._step())
                await asyncio.wait([step, stop], return_when=asyncio.FIRST_COMPLETED)
                if stop.done() and not step.done():
                    step.cancel()
                    await asyncio.wait([step])
                    await self._cancel()
                    break
                if not step.result():
                    break
        finally:
            stop.cancel()
        await self._finish_output()
        return self._exit_code()

    async def _step(self) -> bool:
        """Show the next event; return whether there was one."""
        event = await self._feed.next_event()
        if event is None:
            return False
        self.view.apply(event)
        await self._output.show(event)
        return True

    async def _cancel(self) -> None:
        """Cancel the run and read its last events, within a limit of time."""
        await self._feed.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(_CANCEL_S):
                while event := await self._feed.next_event():
                    self.view.apply(event)

    async def _finish_output(self) -> None:
        with suppress(BrokenPipeError):
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
