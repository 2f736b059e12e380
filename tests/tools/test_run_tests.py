"""The repetition of tests that failed in a parallel run, with small suites of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests._support.paths import ROOT
from tests._support.patience import PATIENCE_S
from tests._support.servers.processes import kill
from tools.run_tests import REPEATED_AT_MOST

ONCE = """
from pathlib import Path

def test_good():
    pass

def test_fails_once():
    seen = Path("seen")
    if not seen.exists():
        seen.touch()
        raise AssertionError("the first time")
"""
ALWAYS = "\ndef test_fails_always():\n    assert False\n"
CRASH = """
import os
from pathlib import Path

def test_crashes_once():
    seen = Path("seen")
    if not seen.exists():
        seen.touch()
        os._exit(3)
"""
SKIPS = """
import pytest
from pathlib import Path

def test_is_skipped_later():
    seen = Path("seen")
    if seen.exists():
        pytest.skip("no longer possible")
    seen.touch()
    assert False
"""
ERROR_ONCE = """
import pytest
from pathlib import Path

@pytest.fixture
def server():
    yield
    seen = Path("seen")
    if not seen.exists():
        seen.touch()
        raise OSError("teardown")

def test_uses_a_server(server):
    pass
"""
LOUD = "passed only when repeated alone: "


def start(folder: Path, *arguments: str, **variables: str) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if name != "CI"}
    # Plugins that these suites do not need take most of the time.
    environment |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_PLUGINS": "xdist.plugin"}
    environment |= {"PYTHONPATH": str(ROOT), **variables}
    return subprocess.Popen(
        [sys.executable, "-m", "tools.run_tests", "-n", "1", *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def run(folder: Path, text: str, *arguments: str, **variables: str) -> tuple[int, str]:
    """Run a suite with one module; return the exit code and the output."""
    (folder / "test_it.py").write_text(text)
    with start(folder, *arguments, **variables) as process:
        out, _ = process.communicate(timeout=PATIENCE_S)
    return process.returncode, out


def test_a_test_that_passes_when_repeated_is_named_and_the_run_passes(tmp_path: Path) -> None:
    code, out = run(tmp_path, ONCE, "-n", "2", "--dist", "worksteal", CI="true")
    assert code == 0
    assert f"{LOUD}test_it.py::test_fails_once\n" in out
    title = "Passed only when repeated alone"
    assert out.splitlines()[-1] == f"::warning title={title}::test_it.py::test_fails_once"
    assert not (tmp_path / ".pytest_cache").exists()


def test_a_test_that_fails_twice_fails_the_run(tmp_path: Path) -> None:
    code, out = run(tmp_path, ONCE + ALWAYS, "-n", "0")
    assert code == 1
    assert LOUD not in out
    assert "failed again" in out


def test_many_failures_are_not_repeated(tmp_path: Path) -> None:
    many = "\n".join(f"def test_{n}():\n    assert False" for n in range(REPEATED_AT_MOST + 1))
    code, out = run(tmp_path, many, "-n", "0")
    assert code == 1
    assert "repeating" not in out


def test_a_run_without_failures_repeats_nothing(tmp_path: Path) -> None:
    code, out = run(tmp_path, "def test_good():\n    pass\n", "-n", "0")
    assert (code, "repeating" in out) == (0, False)


@pytest.mark.parametrize(
    "text", [CRASH, ERROR_ONCE], ids=["a lost worker", "an error of a fixture"]
)
def test_other_ends_of_a_test_are_repeated(tmp_path: Path, text: str) -> None:
    code, out = run(tmp_path, text)
    assert code == 0, out
    assert LOUD in out


def test_a_test_that_is_skipped_when_repeated_has_not_passed(tmp_path: Path) -> None:
    code, out = run(tmp_path, SKIPS, "-n", "0")
    assert (code, LOUD in out) == (1, False)


@pytest.mark.parametrize("at_once", ["0", "1"])
def test_a_module_that_cannot_be_imported_fails_at_once(tmp_path: Path, at_once: str) -> None:
    code, out = run(tmp_path, "import missing_module\n", "-n", at_once)
    assert code != 0
    assert "repeating" not in out


@pytest.mark.parametrize("option", ["-qx", "--maxfail=1"])
def test_a_run_that_stops_at_a_failure_repeats_nothing(tmp_path: Path, option: str) -> None:
    code, out = run(tmp_path, ONCE, option, "-n", "0")
    assert (code, "repeating" in out) == (1, False)


@pytest.mark.parametrize(("option", "code"), [("--no-such-option", 4), ("-k nothing", 5)])
def test_the_exit_code_of_pytest_is_returned(tmp_path: Path, option: str, code: int) -> None:
    assert run(tmp_path, ONCE, option, "-n", "0")[0] == code


def test_paths_and_expressions_select_the_repeated_tests_too(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "test_other.py").write_text(ALWAYS)
    code, out = run(tmp_path, ONCE + ALWAYS, "test_it.py", "-k", "good or once")
    assert code == 0, out


def test_an_interrupted_run_is_not_repeated(tmp_path: Path) -> None:
    text = "import time\nfrom pathlib import Path\n" + ALWAYS
    text += "\ndef test_waits():\n    Path('waits').touch()\n    time.sleep(600)\n"
    (tmp_path / "test_it.py").write_text(text)
    with start(tmp_path) as process:
        try:
            while not (tmp_path / "waits").exists():
                assert process.poll() is None
                time.sleep(0.05)
            os.killpg(process.pid, signal.SIGINT)
            out, _ = process.communicate(timeout=PATIENCE_S)
        finally:
            kill(process.pid)
    assert process.returncode == 2
    assert "repeating" not in out
