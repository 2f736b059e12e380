"""Tests in parallel, and a repetition of the few that failed: alone, in one process.

Usage: python -m tools.run_tests [argument of pytest]...

Several tests at once on a slow machine can exceed time limits of the service that are its own
behaviour. A test that fails in the parallel run is therefore run again without others beside it.
The run passes if every one of at most REPEATED_AT_MOST tests then passes, and its output ends with
their names, since each of them is a defect to mend. Collection errors, an interruption, and
options that stop at the first failures exclude a repetition.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path
from typing import Final

REPEATED_AT_MOST: Final = 5
_TESTS_FAILED: Final = 1  # pytest.ExitCode; others are an interruption, a wrong option, or no test


def run_tests(arguments: Sequence[str]) -> int:
    """Run pytest with `arguments`, repeat the tests that failed, and return the exit code."""
    # A cache of its own: that of the user also has the failures of earlier runs.
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder)
        code = _run_pytest([*arguments, "-o", f"cache_dir={cache}"])
        failed = _read_failed(cache)
        if code != _TESTS_FAILED or not _may_repeat(failed, arguments):
            return code
        print(f"\nrepeating alone: {', '.join(failed)}", flush=True)
        if not _pass_alone(arguments, cache, len(failed)):
            print("\nfailed again, or could not be repeated; the run has failed", flush=True)
            return code
    _report(failed)
    return 0


def _may_repeat(failed: Sequence[str], arguments: Sequence[str]) -> bool:
    stops_early = any(
        each.startswith(("--exitfirst", "--maxfail", "--stepwise"))
        or (each.startswith("-") and each[1:2] != "-" and each.endswith("x"))  # -x, -qx
        for each in arguments
    )
    are_tests = all("::" in each for each in failed)  # else a module that cannot be imported
    return 0 < len(failed) <= REPEATED_AT_MOST and are_tests and not stops_early


def _pass_alone(arguments: Sequence[str], cache: Path, count: int) -> bool:
    """Run the failed tests again in one process; return whether all were found and passed."""
    report = cache / "repeated.xml"
    alone = ["-n", "0", "--last-failed", "--last-failed-no-failures", "none"]
    if any(each.startswith("--cov") for each in arguments):
        alone.append("--cov-append")
    options = [*alone, "-o", f"cache_dir={cache}", f"--junit-xml={report}"]
    if _run_pytest([*arguments, *options]) or _read_failed(cache):
        return False
    suites = list(ET.parse(report).getroot().iter("testsuite"))
    ran = sum(int(suite.get("tests", 0)) - int(suite.get("skipped", 0)) for suite in suites)
    return ran == count


def _run_pytest(arguments: Sequence[str]) -> int:
    # Where bytecode is not stored, as in many containers, each process compiles everything again:
    # the workers all tests, and every service under test all its modules.
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    process = subprocess.Popen([sys.executable, "-m", "pytest", *arguments], env=environment)
    while True:
        try:
            code = process.wait()
        except KeyboardInterrupt:  # pytest has it too, and ends its tests
            continue
        return code if code >= 0 else 128 - code


def _read_failed(cache: Path) -> list[str]:
    """Return the tests that failed last, and the modules that could not be collected."""
    try:
        return list(json.loads((cache / "v/cache/lastfailed").read_text()))
    except FileNotFoundError:
        return []


def _report(passed_alone: Sequence[str]) -> None:
    names = ", ".join(passed_alone)
    print(f"\n{'!' * 80}\npassed only when repeated alone: {names}\n{'!' * 80}", flush=True)
    if os.environ.get("CI") == "true":  # a line that GitHub shows on the page of the run
        print(f"::warning title=Passed only when repeated alone::{names}", flush=True)


if __name__ == "__main__":
    sys.exit(run_tests(sys.argv[1:]))
