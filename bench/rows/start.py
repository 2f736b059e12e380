"""The time from the start of a process to its readiness, and to its first answer."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from time import perf_counter

from bench.client import Address, TimedRequest, perform
from bench.ensembles import BenchEnsemble, MockAnswer, build_get, format_ensembles
from bench.lab import SERVICE, Lab
from bench.processes import BenchError, Process
from bench.table import Line

_READY_S = 1.0
_PATIENCE_S = 30.0
_POLL_S = 0.005
# The largest libraries of the service: the part of a start that is not the service's own.
_IMPORTS = "import quart, hypercorn, httpx, sqlalchemy, aiohttp"


@dataclass(frozen=True, slots=True)
class _Start:
    """Seconds from the start of the process, and the CPU that it had used when it was ready."""

    ready_s: float
    answer_s: float
    cpu_s: float


async def measure_start(lab: Lab) -> list[Line]:
    """Start services and bare imports in turn; the mock in the service answers at once."""
    quick = BenchEnsemble("quick", MockAnswer(5, 0, 0), MockAnswer(5, 0, 0))
    file = lab.folder / "start.toml"
    file.write_text(format_ensembles([quick]))
    variables = {"ENSEMBLES_FILE": str(file), "DATABASE_URL": "sqlite:///data/start.db"}
    new = await _start(lab, quick, variables)
    starts, imports_s = [], []
    for _ in range(lab.choose(5, 1)):
        imports_s.append(await asyncio.to_thread(_measure_imports))
        starts.append(await _start(lab, quick, variables))
    ready_s = median(each.ready_s for each in starts)
    answer_s = median(each.answer_s for each in starts)
    cpu_s = median(each.cpu_s for each in starts)
    ratio = cpu_s / median(imports_s)
    return [
        Line("start of a process to its readiness", f"{ready_s:.2f} s", f"≤ {_READY_S:g} s",
             f"{cpu_s:.2f} s of CPU, {ratio:.2f} × that of `{_IMPORTS}`; "
             f"{new.ready_s:.2f} s with a new database", ready_s <= _READY_S),
        Line("start of a process to its first answer token", f"{answer_s:.2f} s", "",
             f"the mock in the service; {new.answer_s:.2f} s with a new database"),
    ]  # fmt: skip


async def _start(lab: Lab, ensemble: BenchEnsemble, variables: Mapping[str, str]) -> _Start:
    address = "127.0.0.1", _find_free_port()
    arguments = [*SERVICE[:-4], "--port", str(address[1]), "--workers", "1"]
    started = perf_counter()
    process = Process.start("start", arguments, lab.folder, variables)
    lab.processes.append(process)
    try:
        await _wait_until_ready(address)
        ready_s, cpu_s = perf_counter() - started, process.read_cpu_s()
        asked = await perform(address, TimedRequest(ensemble.request), ensemble.combiner.tokens)
        return _Start(ready_s, asked.first_token - started, cpu_s)
    finally:
        await process.stop()


async def _wait_until_ready(address: Address) -> None:
    until = perf_counter() + _PATIENCE_S
    while True:
        try:
            await perform(address, TimedRequest(build_get("/health/ready")), 0)
        except (OSError, BenchError) as error:
            if perf_counter() > until:
                raise BenchError(f"No start within {_PATIENCE_S:g} s: {error}") from error
            await asyncio.sleep(_POLL_S)
        else:
            return


def _measure_imports() -> float:
    """Return the CPU seconds of an interpreter that imports the libraries."""
    child = subprocess.Popen([sys.executable, "-c", _IMPORTS])
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_utime + usage.ru_stime


def _find_free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port
