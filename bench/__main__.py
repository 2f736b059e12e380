"""Command line of the benchmark: `python -m bench [--quick] [row …]`, `python -m bench --guard`."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import uvloop

from bench.guard import RECORD, compare, measure_ratios, read_record, write_record
from bench.lab import Lab
from bench.processes import BenchError
from bench.rows import GROUPS, MOCK_ROWS, ON_REQUEST, ROWS, SLOW_ROWS
from bench.table import Line, describe_machine, format_markdown
from service.server.sockets import raise_open_file_limit

_NAMES = ", ".join([*ROWS, *GROUPS])
_ROW_S, _SLOW_ROW_S = 300.0, 2_400.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table and return 0, or 1 if a row could not be measured.

    A missed target appears in the table and does not change the exit code. With --guard return 1
    if CPU per run has grown.
    """
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "rows",
        nargs="*",
        metavar="row",
        help=f"{_NAMES}; default: all except {', '.join(ON_REQUEST)}",
    )
    parser.add_argument(
        "--quick", action="store_true", help="a short smoke test without meaningful figures"
    )
    parser.add_argument(
        "--guard", action="store_true", help="only compare CPU per run with the recorded ratio"
    )
    parser.add_argument(
        "--record", action="store_true", help="with --guard: record the ratio instead"
    )
    parser.add_argument(
        "--record-file", type=Path, default=RECORD, help="the recorded ratio; default: guard.json"
    )
    options = parser.parse_args(arguments)
    asked = {row for name in options.rows for row in GROUPS.get(name, (name,))}
    if unknown := asked - set(ROWS):
        parser.error(f"no such row: {', '.join(sorted(unknown))}")
    if not Path("/proc/self/stat").exists():
        print("The bench reads /proc, so it needs Linux.", file=sys.stderr)
        return 2
    raise_open_file_limit()
    names = [name for name in ROWS if name in (asked or set(ROWS) - ON_REQUEST)]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            if options.guard:
                return runner.run(_guard(options))
            return runner.run(_measure(names, quick=options.quick))
        except (KeyboardInterrupt, asyncio.CancelledError):
            return 130
        except BenchError as error:
            print(error, file=sys.stderr)
            return 1


@asynccontextmanager
async def _open_lab(*, quick: bool) -> AsyncIterator[Lab]:
    """Start a lab, and stop its processes at the end."""
    task = asyncio.current_task()
    assert task is not None
    # Handle SIGTERM like Ctrl-C, so that the processes are stopped.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        lab = Lab(Path(folder), quick)
        try:
            await lab.start()
            yield lab
        finally:
            await lab.stop()


async def _guard(options: argparse.Namespace) -> int:
    recorded = {} if options.record else read_record(options.record_file)
    async with _open_lab(quick=options.quick) as lab:
        ratios = await measure_ratios(lab, recorded)
    if options.record:
        write_record(options.record_file, ratios)
        return 0
    return compare(ratios, recorded)


async def _measure(names: Sequence[str], *, quick: bool) -> int:
    async with _open_lab(quick=quick) as lab:
        measured: dict[str, tuple[list[Line], list[str]]] = {}

        async def measure(some: Sequence[str]) -> None:
            for name in some:
                print(f"measuring {name} …", file=sys.stderr, flush=True)
                measured[name] = await _measure_row(name, lab)

        async with asyncio.TaskGroup() as group:
            for some in _divide(names) if quick else [names]:
                group.create_task(measure(some))
    lines = [line for name in names for line in measured[name][0]]
    faults = [fault for name in names for fault in measured[name][1]]
    print(f"{format_markdown(lines)}\n\n{describe_machine()}{' A smoke run.' if quick else ''}")
    for fault in faults:
        print(f"\nNot measured: {fault}", file=sys.stderr)
    return 1 if faults else 0


def _divide(names: Sequence[str]) -> list[list[str]]:
    """Return lists of rows that can be measured at the same time, where figures mean nothing."""
    others = [name for name in names if name not in MOCK_ROWS]
    return [
        [name for name in names if name in MOCK_ROWS],
        *(others[start::3] for start in range(3)),
    ]


async def _measure_row(name: str, lab: Lab) -> tuple[list[Line], list[str]]:
    """Return the lines of a row, or the reasons why it could not be measured."""
    faults: list[str] = []
    try:
        async with asyncio.timeout(_SLOW_ROW_S if name in SLOW_ROWS else _ROW_S):
            return await ROWS[name](lab), faults
    except* (BenchError, OSError) as group:  # a timeout is an OSError
        reasons = {str(error) or "it took too long" for error in _flatten(group)}
        faults += [f"{name}: {reason}" for reason in sorted(reasons)]
        _show_logs(lab)
    return [], faults


def _flatten(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    """Return all errors of a group and of the groups in it."""
    found: list[BaseException] = []
    for error in group.exceptions:
        found += _flatten(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found


def _show_logs(lab: Lab) -> None:
    for process in lab.processes:
        print(f"--- the end of {process.name}'s log\n{process.read_log_tail()}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
