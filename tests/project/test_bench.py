"""The benchmark runs. What it measures is for people to judge: no figure is asserted."""

from __future__ import annotations

import subprocess
import sys

from tests._support.paths import ROOT


def test_the_benchmark_prints_every_row() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "bench", "--quick"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    rows = [line for line in ran.stdout.splitlines() if line.startswith("| ")]
    for row in (
        "first answer token",
        "answer tokens per CPU-second",
        "memory",
        "abandoned runs",
        "events of a stream beside a flood",
        "saturation",
        "search, SQLite",
        "history page, PostgreSQL",
        "failed runs with 1 % of combiners cut midway",
        "5 % of calls silent for 8 s",
        "CPU per run, every span exported",
        "the collector dead",
        "CPU of a request with limits in memory",
        "calls of Redis for the limits of a request",
        "CPU of a request with a key",
        "AUTH=required with a key against AUTH=off",
    ):
        assert any(row in line for line in rows), ran.stdout
