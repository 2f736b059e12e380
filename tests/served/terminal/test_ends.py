"""How `ask` and `top` end: signals, streams that are closed or lost, settings that are wrong."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
from pathlib import Path

import pytest

from tests._support.clients.api import Api, until
from tests._support.patience import PATIENCE_S
from tests._support.servers.processes import Process, command, environment
from tests._support.terminal.client import on_terminal, run_piped

ENDLESS = ("ask", "Why?", "--ensemble", "endless-answer")


def _run_shell(folder: Path, redirection: str, *arguments: str, **settings: str) -> int:
    """Run a client command with a redirection of the shell, and return its exit code."""
    with (folder / "stderr").open("wb") as stderr:
        return subprocess.run(
            f"{shlex.join(command(*arguments))} {redirection}",
            shell=True,
            cwd=folder,
            env=environment(settings),
            stdin=subprocess.DEVNULL,
            stderr=stderr,
            timeout=PATIENCE_S,
            check=False,
        ).returncode


async def _has_no_run(api: Api) -> bool:
    return "\nfanout_inflight_runs 0.0" in (await api.http.get("/metrics")).text


@pytest.mark.parametrize(
    ("redirection", "code"),
    [("<&-", 0), (">&-", 0), ("2>&- > answer", 0), ("<&- >&- 2>&-", 0), ("> /dev/full", 1)],
)
def test_closed_and_full_streams_are_no_programming_errors(
    service: Process, tmp_path: Path, redirection: str, code: int
) -> None:
    arguments = ("ask", "Why?", "--ensemble", "solo", "--url", service.url)
    assert _run_shell(tmp_path, redirection, *arguments) == code
    assert b"Traceback" not in (tmp_path / "stderr").read_bytes()


async def test_an_output_that_cannot_be_written_stops_the_run(
    service: Process, api: Api, tmp_path: Path
) -> None:
    assert _run_shell(tmp_path, "> /dev/full", *ENDLESS, "--url", service.url) == 1
    first, *_ = (tmp_path / "stderr").read_text().splitlines()
    assert first == "The output cannot be written: No space left on device."
    await until(lambda: _has_no_run(api))


@pytest.mark.parametrize(
    ("arguments", "settings", "says"),
    [
        (["bad \udcff"], {}, "is no UTF-8 text"),
        (["--resume", "bad\udcff"], {}, "is no UTF-8 text"),
        (["Hi", "--url", "http://127.0.0.1:99999"], {}, "is no address of a service"),
        (["Hi"], {"ALL_PROXY": "socks5://127.0.0.1:1"}, "variables for proxies"),
        (["Hi"], {"HTTP_PROXY": "one:two:three"}, "variables for proxies"),
        (["Hi"], {"SSL_CERT_FILE": "/nowhere"}, "No such file"),
        (["Hi"], {"LLM_SSE_URL": "", "XDG_DATA_HOME": "/dev/null"}, "no folder"),
    ],
)
def test_wrong_arguments_and_variables_are_named(
    service: Process, tmp_path: Path, arguments: list[str], settings: dict[str, str], says: str
) -> None:
    done = run_piped(tmp_path, "ask", *arguments, **{"LLM_SSE_URL": service.url, **settings})
    assert (done.returncode, says in done.stderr.decode()) == (2, True), done.stderr
    assert done.stderr.count(b"\n") == 1


def test_a_password_in_the_url_is_not_printed(tmp_path: Path) -> None:
    done = run_piped(tmp_path, "ask", "Hi", "--url", "http://me:secret@127.0.0.1:1")
    assert done.returncode == 1
    assert b"secret" not in done.stderr


def test_an_output_without_unicode_receives_the_answer(service: Process, tmp_path: Path) -> None:
    settings = {"LLM_SSE_URL": service.url, "PYTHONIOENCODING": "ascii"}
    done = run_piped(tmp_path, "ask", "Wie geht’s?", "--ensemble", "solo", **settings)
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()


def test_the_lines_of_json_are_complete_after_ctrl_c(service: Process, tmp_path: Path) -> None:
    with subprocess.Popen(
        command(*ENDLESS, "--json", "--url", service.url),
        cwd=tmp_path,
        env=environment({}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as asking:
        assert asking.stdout
        first = asking.stdout.readline()
        asking.send_signal(signal.SIGINT)
        rest, _ = asking.communicate(timeout=PATIENCE_S)
    events = [json.loads(line) for line in (first + rest).splitlines()]
    numbers = [each["seq"] for each in events]
    assert numbers == list(range(1, len(numbers) + 1))
    assert (events[-1]["type"], events[-1]["code"]) == ("run.failed", "cancelled")
    assert asking.returncode == 130


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
async def test_a_signal_stops_the_run_and_restores_the_terminal(
    service: Process, api: Api, tmp_path: Path, number: int, code: int
) -> None:
    with on_terminal(tmp_path, *ENDLESS, "--url", service.url) as terminal:
        terminal.wait_for("answering · ")
        assert not terminal.has_echo()
        terminal.send_signal(number)
        assert terminal.wait() == code
        assert terminal.has_echo()
    assert terminal.output.rindex(b"\x1b[?25h") > terminal.output.rindex(b"\x1b[?25l")
    assert "Interrupted." in terminal.text
    await until(lambda: _has_no_run(api))


def test_ctrl_c_leaves_nothing_of_the_panels(service: Process, tmp_path: Path) -> None:
    with on_terminal(tmp_path, *ENDLESS, "--url", service.url) as terminal:
        terminal.wait_for("answering · ")
        terminal.type("typed\x03")
        assert terminal.wait() == 130
    assert "typed" not in terminal.text
    assert "^C" not in terminal.text  # its echo would move the cursor below the panels


def test_ctrl_c_while_the_input_is_read_ends_without_a_traceback(
    service: Process, tmp_path: Path
) -> None:
    with subprocess.Popen(
        command("ask", "--url", service.url),
        cwd=tmp_path,
        env=environment({}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as asking:
        assert asking.stderr
        assert b"Reading the standard input" in asking.stderr.readline()
        asking.send_signal(signal.SIGINT)
        assert asking.wait(PATIENCE_S) == 130
        assert asking.stderr.read() == b""


def test_the_live_view_ends_with_sigterm(service: Process, tmp_path: Path) -> None:
    arguments = ("top", "--interval", "0.2", "--url", service.url)
    with on_terminal(tmp_path, *arguments) as terminal:
        terminal.wait_for("in the last")
        terminal.send_signal(signal.SIGTERM)
        assert terminal.wait() == 143
    assert b"\x1b[?1049l" in terminal.output


def test_a_page_that_is_no_service_is_named_by_top(tmp_path: Path, service: Process) -> None:
    done = run_piped(tmp_path, "top", "--once", "--url", f"{service.url}/docs")
    assert done.returncode in (1, 2)
    assert b"Traceback" not in done.stderr
