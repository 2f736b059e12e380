"""The benchmark runs. What it measures is for people to judge: no figure is asserted."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bench.guard import compare, read_record, write_record
from tests._support.paths import ROOT


def run_bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench", "--quick", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


def test_the_benchmark_prints_every_row() -> None:
    ran = run_bench()
    assert ran.returncode == 0, ran.stderr
    rows = [line for line in ran.stdout.splitlines() if line.startswith("| ")]
    for row in (
        "first answer token over the ideal, agents whole",
        "CPU per run, agents streamed, 50 open",
        "CPU per run, agents whole, 300 started at once",
        "200 started in one instant",
        "answer tokens per CPU-second",
        "CPU per run, the Go original",
        "answer tokens per second, 2 workers",
        "share of the store in the CPU of a run, SQLite",
        "CPU per run, SQLite, 400 stored runs",
        "CPU per run, PostgreSQL, 400 stored runs",
        "start of a process to its readiness",
        "memory of each of",
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


def test_the_guard_compares_with_the_recorded_ratio(tmp_path: Path) -> None:
    record = tmp_path / "guard.json"
    write_record(record, {"streamed": 1_000.0, "whole": 0.001})
    ran = run_bench("--guard", "--record-file", str(record))
    assert ran.returncode == 1, ran.stderr
    assert ran.stdout.count("times the floor's") == 2


@pytest.mark.parametrize(
    ("streamed", "whole", "status"), [(1.8, 1.3, 0), (2.2, 1.6, 0), (2.3, 1.3, 1), (1.8, 1.7, 1)]
)
def test_the_guard_fails_a_quarter_above_the_record(
    tmp_path: Path, streamed: float, whole: float, status: int
) -> None:
    record = tmp_path / "guard.json"
    write_record(record, {"streamed": 1.8, "whole": 1.3})
    assert compare({"streamed": streamed, "whole": whole}, read_record(record)) == status


def test_the_guard_fails_without_a_record(tmp_path: Path) -> None:
    assert compare({"streamed": 1.8}, read_record(tmp_path / "absent.json")) == 1
