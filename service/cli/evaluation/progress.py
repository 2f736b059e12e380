"""The progress of an evaluation on the standard error: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress

from service.evaluation.running.progress import OnProgress, Progress

_LINES_PER_STEP = 10


@contextmanager
def show_progress(stream: TextIO) -> Iterator[OnProgress]:
    """Yield the function that shows the progress on `stream`."""
    if not stream.isatty():
        yield _Lines(stream).show
        return
    with RichProgress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[amounts]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Console(file=stream),
    ) as bar:
        yield _Bar(bar).show


def format_amounts(progress: Progress) -> str:
    """Return the answers and the cost so far."""
    return f"{progress.sent} sent, {progress.reused} reused, ${progress.spent_usd:.4f}"


class _Bar:
    """One line of a terminal for each step."""

    def __init__(self, bar: RichProgress) -> None:
        self._bar = bar
        self._task: TaskID | None = None

    def show(self, progress: Progress) -> None:
        amounts = format_amounts(progress)
        if self._task is None or progress.done == 0:
            self._task = self._bar.add_task(progress.step, total=progress.planned, amounts=amounts)
        self._bar.update(self._task, completed=progress.done, amounts=amounts)


class _Lines:
    """A line for each tenth of a step."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def show(self, progress: Progress) -> None:
        part = max(1, progress.planned // _LINES_PER_STEP)
        if progress.done % part == 0 or progress.done == progress.planned:
            counts = f"{progress.done} of {progress.planned}"
            print(
                f"{progress.step}: {counts}, {format_amounts(progress)}",
                file=self._stream,
                flush=True,
            )
