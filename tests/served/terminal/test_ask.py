"""`ask` as a process against a running service: pipes, a terminal, Ctrl-C, broken connections."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests._support.clients.api import Api, client_of, until
from tests._support.clients.breakable_line import line_to
from tests._support.patience import PATIENCE_S
from tests._support.servers.processes import Process, command, environment
from tests._support.servers.services import Start
from tests._support.terminal.client import on_terminal, run_piped


def _at(service: Process) -> dict[str, str]:
    return {"LLM_SSE_URL": service.url}


@contextmanager
def _asking(service: Process, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Ask a question with an endless answer, and wait for the first characters of it."""
    with subprocess.Popen(
        command("ask", "Why?", "--ensemble", "endless-answer"),
        cwd=folder,
        env=environment(_at(service)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as asking:
        assert asking.stdout
        assert asking.stdout.read(10)
        try:
            yield asking
        finally:
            asking.kill()


async def _stored(api: Api, stderr: bytes) -> dict[str, object]:
    """Return the run that a command named at its end."""
    run_id = next(word for word in stderr.decode().split() if word.startswith("run_"))
    found: dict[str, object] = (await api.http.get(f"/api/runs/{run_id}")).json()
    return found


async def test_a_pipe_receives_the_answer_alone(service: Process, api: Api, tmp_path: Path) -> None:
    done = run_piped(tmp_path, "ask", "Why is the sky blue?", **_at(service))
    assert done.returncode == 0
    stored = await _stored(api, done.stderr)
    assert done.stdout.decode() == f"{stored['answer']}\n"
    assert str(stored["conversation_id"]) in done.stderr.decode()


async def test_piped_text_and_files_are_part_of_the_question(
    service: Process, api: Api, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("from a file\n")
    arguments = ("ask", "Summarise:", "--file", "notes.txt", "--ensemble", "solo")
    done = run_piped(tmp_path, *arguments, text="from a pipe\n", **_at(service))
    assert done.returncode == 0
    stored = await _stored(api, done.stderr)
    found = await api.http.get(f"/api/conversations/{stored['conversation_id']}")
    assert "Summarise:\\n\\nfrom a pipe\\n\\nnotes.txt:\\n\\nfrom a file" in found.text


async def test_every_event_is_a_line_of_json(service: Process, tmp_path: Path) -> None:
    done = run_piped(tmp_path, "ask", "Why?", "--json", "--stream-agents", **_at(service))
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert events[-1]["final"]
    assert "agent.delta" in {event["type"] for event in events}
    again = run_piped(tmp_path, "ask", "--json", "--resume", events[0]["run_id"], **_at(service))
    assert again.stdout == done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["Hi", "--ensemble", "nowhere"], 1, "no ensemble named nowhere"),
        (["Hi", "--ensemble", "both-bad"], 1, "Failed: "),
        (["Hi", "--ensemble", "one-status", "--strict"], 3, "bad-status failed"),
        (["Hi", "--ensemble", "one-status"], 0, "bad-status failed"),
        (["--resume", "run_0"], 1, "no such run"),
        ([], 2, "There is no question"),
        (["Hi", "--max-tokens", "0"], 2, "--max-tokens"),
        (["Hi", "--ensembel", "solo"], 2, "did you mean --ensemble?"),
        (["Hi", "--file", "nowhere.txt"], 2, "nowhere.txt cannot be read"),
        (["Hi", "--url", "http://127.0.0.1:1"], 1, "http://127.0.0.1:1 cannot be reached"),
        (["Hi", "--url", "ftp://x"], 2, "--url ftp://x"),
    ],
)
def test_every_end_has_an_exit_code_and_a_sentence(
    service: Process, tmp_path: Path, arguments: list[str], code: int, says: str
) -> None:
    done = run_piped(tmp_path, "ask", *arguments, **_at(service))
    assert (done.returncode, says in done.stderr.decode()) == (code, True), done.stderr
    assert b"Traceback" not in done.stderr


def test_a_terminal_shows_the_agents_while_they_work_and_keeps_the_answer(
    service: Process, tmp_path: Path
) -> None:
    with on_terminal(tmp_path, "ask", "Why?", "--ensemble", "steady", **_at(service)) as terminal:
        terminal.wait_for("answering")
        terminal.resize(20, 50)
        assert terminal.wait() == 0
    assert "llm-1" in terminal.text
    assert "llm-2" in terminal.text
    assert b"\x1b[?25h" in terminal.output  # the cursor is visible again
    assert "run_" in terminal.text.splitlines()[-1]


async def test_ctrl_c_stops_the_run_and_prints_its_cost(
    service: Process, api: Api, tmp_path: Path
) -> None:
    arguments = ("ask", "Why?", "--ensemble", "endless-answer")
    with on_terminal(tmp_path, *arguments, **_at(service)) as terminal:
        terminal.wait_for("answering · ")
        terminal.type("\x03")
        assert terminal.wait() == 130
    assert "Interrupted." in terminal.text
    last = terminal.text.strip().splitlines()[-1]
    assert " tokens · no price" in last
    assert (await _stored(api, last.encode()))["state"] == "cancelled"


async def test_a_reader_that_leaves_stops_the_run(
    service: Process, api: Api, tmp_path: Path
) -> None:
    with _asking(service, tmp_path) as asking:
        assert asking.stdout
        assert asking.stderr
        asking.stdout.close()
        assert await asyncio.to_thread(asking.wait, PATIENCE_S) == 141
        assert asking.stderr.read() == b""

    async def has_no_run() -> bool:
        return "\nfanout_inflight_runs 0.0" in (await api.http.get("/metrics")).text

    await until(has_no_run)


async def test_a_broken_connection_is_resumed_without_a_gap(
    service: Process, api: Api, tmp_path: Path
) -> None:
    async with line_to(service.port) as line:
        line.cut(after=b'"status": "Streaming"')
        arguments = ("ask", "Why?", "--ensemble", "steady", "--url", line.url)
        done = await asyncio.to_thread(run_piped, tmp_path, *arguments)
        assert line.was_cut
    assert done.returncode == 0, done.stderr
    stored = await _stored(api, done.stderr)
    assert done.stdout.decode() == f"{stored['answer']}\n"


async def test_a_restarted_service_ends_the_run_as_interrupted(
    start: Start, tmp_path: Path
) -> None:
    service = start()
    with _asking(service, tmp_path) as asking:
        service.crash()
        start("--port", str(service.port), folder=service.folder)
        out, err = await asyncio.to_thread(asking.communicate, timeout=PATIENCE_S)
    assert asking.returncode == 1
    assert b"The service stopped before the run ended" in err
    assert out


def test_a_chat_continues_its_conversation(service: Process, tmp_path: Path) -> None:
    arguments = ("ask", "--ensemble", "solo")
    with on_terminal(tmp_path, *arguments, term="dumb", **_at(service)) as terminal:
        terminal.wait_for("> ")
        terminal.type("First question\n")
        terminal.wait_for("conv_")
        terminal.type("/help\n")
        terminal.wait_for("/ensemble NAME")
        terminal.type("Second question\n")
        terminal.wait_for(" tokens · ", times=2)
        terminal.wait_for("> ", times=4)
        terminal.type("\x03")  # empties the line
        terminal.wait_for("> ", times=5)
        terminal.type("/quit\n")
        assert terminal.wait() == 0
    conversations = {word for word in terminal.text.split() if word.startswith("conv_")}
    assert len(conversations) == 1


def test_sigterm_ends_the_command(service: Process, tmp_path: Path) -> None:
    with _asking(service, tmp_path) as asking:
        asking.send_signal(signal.SIGTERM)
        asking.communicate(timeout=PATIENCE_S)
    assert asking.returncode in (-signal.SIGTERM, 143)


# --- without a running service ---


def test_without_a_url_the_question_is_answered_in_the_own_process(tmp_path: Path) -> None:
    settings = {"XDG_DATA_HOME": str(tmp_path / "data")}
    done = run_piped(tmp_path, "ask", "Why?", "--ensemble", "solo", **settings)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert done.stderr.count(b"\n") == 1  # the run: no banner, no log lines
    run_id = done.stderr.decode().split()[0]
    again = run_piped(tmp_path, "ask", "--resume", run_id, **settings)
    assert again.stdout == done.stdout
    assert [each.name for each in tmp_path.iterdir()] == ["data"]


async def test_a_run_of_the_own_process_can_be_read_at_the_service_of_its_folder(
    start: Start, tmp_path: Path
) -> None:
    service = start()
    settings = {
        name: value
        for name, value in _settings_of(service).items()
        if name.startswith(("DATABASE", "SPOOL", "ENSEMBLES", "USE_LLM", "LLM_"))
    }
    (service.folder / ".env").touch()
    done = await asyncio.to_thread(run_piped, service.folder, "ask", "Why?", **settings)
    assert done.returncode == 0, done.stderr
    async with client_of(service.url) as api:
        assert (await _stored(api, done.stderr))["state"] == "completed"


def _settings_of(service: Process) -> dict[str, str]:
    entries = Path(f"/proc/{service.pid}/environ").read_bytes().split(b"\0")
    return dict(entry.decode().split("=", 1) for entry in entries if b"=" in entry)


def test_the_client_does_not_import_the_service(tmp_path: Path) -> None:
    """A client of a running service must start at once."""
    script = (
        "import sys, service.cli.client.command\nprint(*{'quart', 'sqlalchemy'} & {*sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment({}), capture_output=True, check=True
    )
    assert done.stdout.split() == []
