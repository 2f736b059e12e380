"""Objects that only the garbage collector can free, in this process and in a service process.

Such objects stay in memory until a collection of their generation, which for long-lived ones is
rare. A service process reports them on a signal when it was started with the setting REPORT; its
garbage collector is disabled, so that its memory contains all of them.
"""

from __future__ import annotations

import gc
import json
import os
import signal
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import CoroutineType, FrameType, FunctionType

from tests._support.clients.api import until

REPORT = "TEST_GARBAGE_REPORT"
_FILE, _SIGNAL = Path("garbage.json"), signal.SIGUSR2
_OURS = ("service.", "telemetry.")


@dataclass
class Garbage:
    """Counts of objects in reference cycles, and of what only they refer to, by name.

    `live` is the number of all other objects that the collector tracks.
    """

    counts: Counter[str] = field(default_factory=Counter)
    live: int = 0

    @property
    def ours(self) -> Mapping[str, int]:
        """The objects of the service's own types, and the frames and functions of its code."""
        return {
            name: count
            for name, count in self.counts.items()
            if name.rpartition(" ")[2].startswith(_OURS)
        }


@contextmanager
def collecting() -> Iterator[Garbage]:
    """Yield the garbage of the block; it is complete after the block."""
    gc.collect()
    gc.freeze()  # excludes all earlier objects
    gc.disable()
    garbage = Garbage()
    try:
        yield garbage
        found = _find()
        garbage.counts, garbage.live = found.counts, found.live
    finally:
        gc.enable()
        gc.unfreeze()


async def request_report(pid: int, folder: Path) -> Garbage:
    """Return the garbage since the last report of a service that was started with REPORT."""
    file = folder / _FILE
    file.unlink(missing_ok=True)
    os.kill(pid, _SIGNAL)

    async def is_written() -> bool:
        return file.exists()

    await until(is_written)
    report = json.loads(file.read_text())
    return Garbage(Counter(report["counts"]), report["live"])


def install_report(environment: Mapping[str, str]) -> None:
    """Disable the collector of this process and report on a signal, if `environment` has REPORT."""
    if REPORT in environment:
        gc.disable()
        signal.signal(_SIGNAL, lambda *_: _write_report())


def _write_report() -> None:
    found = _find()
    new = _FILE.with_suffix(".new")
    new.write_text(json.dumps({"counts": found.counts, "live": found.live}))
    os.replace(new, _FILE)


def _find() -> Garbage:
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        gc.collect()
        counts = Counter(map(_name, gc.garbage))
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.collect()
    return Garbage(counts, len(gc.get_objects()))


def _name(found: object) -> str:
    """Return the type of an object; for a frame or a function also its module and name."""
    with suppress(AttributeError):
        if isinstance(found, FrameType):
            return f"frame {found.f_globals.get('__name__')}.{found.f_code.co_name}"
        if isinstance(found, FunctionType):
            return f"function {found.__module__}.{found.__qualname__}"
        if isinstance(found, CoroutineType):
            return f"coroutine {found.__qualname__}"
    kind = type(found)
    return f"{kind.__module__}.{kind.__qualname__}"
