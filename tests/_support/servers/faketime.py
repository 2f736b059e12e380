"""Processes whose clocks differ from those of the machine, with libfaketime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests._support.missing import miss

_LIBRARY = "faketime/libfaketimeMT.so.1"  # for programs with several threads


def shift_clock(offset_s: int, *, with_monotonic: bool = False) -> Mapping[str, str]:
    """Return settings of a process whose wall clock differs by `offset_s`."""
    return {**_preload(with_monotonic), "FAKETIME": f"{offset_s:+d}s"}


class SteppingClock:
    """A clock that a test can set while a process runs."""

    def __init__(self, file: Path, *, with_monotonic: bool) -> None:
        self._file = file
        self.settings = {
            **_preload(with_monotonic),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_CACHE_DURATION": "1",
        }
        self.step(0)

    def step(self, offset_s: int) -> None:
        """Set the clock to the machine's time plus `offset_s`."""
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{offset_s:+d}s")
        fresh.replace(self._file)


def _preload(with_monotonic: bool) -> Mapping[str, str]:
    found = sorted(Path("/usr/lib").glob(f"*/{_LIBRARY}"))
    if not found:
        miss("libfaketime is not installed (Debian: apt install faketime)")
    return {"LD_PRELOAD": str(found[0]), "DONT_FAKE_MONOTONIC": "0" if with_monotonic else "1"}
