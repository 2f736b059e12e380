"""Build of the programs: messages of failures, and no use of unfinished binaries."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tools.observe import golang, pins
from tools.observe.build import build, get_cache_folder, is_built
from tools.observe.golang import BuildError
from tools.observe.programs import ROOT

Fake = Callable[..., None]

# On a line of input it creates the programs and ends.
ANOTHER_BUILD = """
import fcntl, pathlib, sys
lock = open(sys.argv[1], "w")
fcntl.flock(lock, fcntl.LOCK_EX)
print("locked", flush=True)
sys.stdin.readline()
for name in sys.argv[2:]:
    pathlib.Path(name).touch()
"""


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def fake_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Put a fake go command on the PATH that records its calls."""

    def write(version: str = "go1.26.8", download: object = None, build: str = "exit 1") -> None:
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        (folder / "answer").write_text(json.dumps(download or {}))
        go = folder / "go"
        go.write_text(
            f"""#!/bin/sh
            echo "$@" >> {folder}/called
            case "$1 $2" in
                "env GOVERSION") echo {version} ;;
                "env GOTOOLCHAIN") echo local ;;
                mod*) cat {folder}/answer ;;
                build*) {build} ;;
            esac"""
        )
        go.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    return write


def run_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tools.observe", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


def test_without_go_the_error_names_the_version_and_the_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    done = run_command("build")
    assert done.returncode == 1
    assert done.stderr == (
        f"Go 1.26 or newer is needed; there is none on PATH. Get it: {golang.INSTALL_HINT}.\n"
    )


def test_a_go_that_is_too_old_is_reported_with_its_version(fake_go: Fake, tmp_path: Path) -> None:
    fake_go("go1.19.8")
    done = run_command("build")
    assert done.returncode == 1
    assert f"Go 1.26 or newer is needed; {tmp_path}/bin/go is go1.19.8." in done.stderr
    assert "Traceback" not in done.stderr


def test_a_failed_download_is_reported_with_the_message_of_go(fake_go: Fake) -> None:
    fake_go(download={"Error": "dial tcp: lookup somewhere: no such host"})
    done = run_command("build")
    assert done.returncode == 1
    assert "could not be downloaded" in done.stderr
    assert "no such host" in done.stderr
    assert "Traceback" not in done.stderr


def test_sources_with_another_checksum_are_not_built(fake_go: Fake, tmp_path: Path) -> None:
    fake_go(download={"Dir": str(tmp_path), "Sum": "h1:something-else="})
    done = run_command("build")
    assert done.returncode == 1
    assert "h1:something-else=" in done.stderr
    calls = (tmp_path / "bin" / "called").read_text().splitlines()
    assert {call.split()[0] for call in calls} == {"env", "mod"}


def test_a_failed_compilation_is_reported_and_leaves_no_files(
    fake_go: Fake, tmp_path: Path
) -> None:
    sources = {"Dir": str(tmp_path), "Sum": pins.BUILDER.module.sum}
    fake_go(download=sources, build="echo 'no space left on device' >&2; exit 1")
    with pytest.raises(BuildError, match="no space left on device"):
        build(print)
    assert [path.name for path in get_cache_folder().iterdir()] == [".lock"]


def test_existing_binaries_are_used_without_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    get_cache_folder().mkdir(parents=True)
    for name in ("otelcol", "jaeger", "prometheus", "promtool"):
        (get_cache_folder() / name).touch()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert build(pytest.fail) == get_cache_folder()
    assert is_built()
    assert not is_built(for_tests=True)


def test_an_unfinished_binary_does_not_count_as_built(fake_go: Fake, tmp_path: Path) -> None:
    """A killed build leaves its folder, which the next build removes."""
    left_over = get_cache_folder() / ".unfinished-by-a-killed-build"
    (left_over / "out").mkdir(parents=True)
    (left_over / "out" / "otelcol").touch()
    assert not is_built()
    fake_go(download={"Dir": str(tmp_path), "Sum": pins.BUILDER.module.sum})
    with pytest.raises(BuildError):
        build(print)
    assert not left_over.exists()


def test_a_second_build_waits_for_the_first_and_uses_its_binaries(tmp_path: Path) -> None:
    get_cache_folder().mkdir(parents=True)
    names = [
        str(get_cache_folder() / name) for name in ("otelcol", "jaeger", "prometheus", "promtool")
    ]
    first = subprocess.Popen(
        [
            sys.executable,
            "-c",
            ANOTHER_BUILD,
            str(get_cache_folder() / ".lock"),
            *names,
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert first.stdin
    assert first.stdout
    assert first.stdout.readline() == b"locked\n"
    lines: list[str] = []

    def report(line: str) -> None:
        lines.append(line)
        assert first.stdin
        first.stdin.write(b"\n")
        first.stdin.flush()

    try:
        assert build(report) == get_cache_folder()
    finally:
        first.communicate()
    assert lines == ["Another build is running; waiting for it …"]


def test_another_pin_selects_another_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    before = pins.compute_fingerprint()
    monkeypatch.setattr(pins, "FLAGS", ("-race",))
    assert pins.compute_fingerprint() != before


def test_a_build_inherits_the_proxy_and_not_the_target(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOS", "windows")
    monkeypatch.setenv("GOPROXY", "https://mirror.example")
    environment = golang.build_environment()
    assert "GOOS" not in environment
    assert environment["GOPROXY"] == "https://mirror.example"
    assert os.environ["PATH"] == environment["PATH"]
