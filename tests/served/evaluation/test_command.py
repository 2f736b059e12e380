"""The command `evaluate` as a process: what it sends, its exit codes, signals and kills."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests._support.patience import PATIENCE_S
from tests._support.servers.processes import Process, fork
from tests._support.servers.services import KEY, UNHURRIED_STORE

QUESTIONS = [
    {"id": f"q{number}", "question": f"What is {number} + 1?", "numeric": number + 1}
    for number in range(12)
]
QUICK = "first_ms=1&gap_ms=0"
ENSEMBLES = f"""
default = "strong"
[agents.a]
model = "weak-a?skill=0.5&{QUICK}"
[agents.b]
model = "weak-b?skill=0.5&{QUICK}"
[agents.c]
model = "weak-c?skill=0.5&{QUICK}"
[agents.slow]
model = "slow?skill=0.9&first_ms=300&gap_ms=0"
[agents.judge]
model = "judge?judge=0.9&{QUICK}"
[ensembles.strong]
strategy = "vote"
agents = ["a", "b", "c"]
[ensembles.waiting]
strategy = "solo"
agents = ["slow"]
[prices."slow?skill=0.9&first_ms=300&gap_ms=0"]
input = 1.0
output = 1.0
"""


class Command:
    """The command in a folder of its own, with the mock as model server."""

    def __init__(self, folder: Path, llm: Process) -> None:
        self.folder = folder
        self.llm = llm
        (folder / "questions.jsonl").write_text("\n".join(map(json.dumps, QUESTIONS)))
        (folder / "ensembles.toml").write_text(ENSEMBLES)

    def start(self, *arguments: str, **settings: str) -> Process:
        """Start the command."""
        return fork(
            self.folder,
            "evaluate",
            *arguments,
            **{
                "USE_LLM_MOCK": "false",
                "LLM_BASE_URL": self.llm.url,
                "LLM_KEY": KEY,
                "DATABASE_URL": f"sqlite:///{self.folder}/service.db",
                **UNHURRIED_STORE,
                **settings,
            },
        )

    def finish(self, *arguments: str, code: int = 0, **settings: str) -> Process:
        """Run the command to its end, which must have the exit code `code`."""
        process = self.start(*arguments, **settings)
        assert process.wait() == code, process.err
        assert "Traceback" not in process.err
        return process

    def count_requests(self) -> int:
        """Return the number of requests that the mock has received so far."""
        stats: dict[str, int] = httpx.get(self.llm.url.replace("/v1", "/stats")).json()
        return stats["requests"]

    def read_report(self, folder: str = "results") -> dict[str, Any]:
        """Return the report in JSON."""
        report: dict[str, Any] = json.loads((self.folder / folder / "report.json").read_text())
        return report


@pytest.fixture
def evaluate(tmp_path: Path, mock_llm: Process) -> Command:
    return Command(tmp_path, mock_llm)


def wait_until(process: Process, condition: Callable[[], bool]) -> None:
    latest = time.monotonic() + PATIENCE_S
    while not condition():
        assert process.popen.poll() is None, process.err
        assert time.monotonic() < latest
        time.sleep(0.02)


ALL = ("questions.jsonl", "--ensembles", "strong", "--out", "results")
WAITING = ("questions.jsonl", "--ensembles", "waiting", "--out", "results", "--concurrency", "2")


def test_a_user_reads_the_table_and_a_second_start_sends_no_request(evaluate: Command) -> None:
    first = evaluate.finish(*ALL)
    assert "strong" in first.out
    assert "agent/a" in first.out
    for name in ("report.json", "report.md", "plot.svg", "state.jsonl"):
        assert (evaluate.folder / "results" / name).stat().st_size
    assert len(evaluate.read_report()["answers"]) == 5 * len(QUESTIONS)
    sent = evaluate.count_requests()
    table = first.out
    again = evaluate.finish(*ALL)
    assert again.out == table
    evaluate.finish(*ALL[:-1], "another", "--format", "markdown")
    assert evaluate.count_requests() == sent


def test_the_sample_is_evaluated_with_a_judge_that_is_not_needed(evaluate: Command) -> None:
    options = ("--ensembles", "strong", "--limit", "4", "--no-equal-cost", "--judge", "agent/judge")
    process = evaluate.finish("--sample", *options, "--format", "json")
    report = json.loads(process.out)
    assert len(report["questions"]) == 4
    assert report["inputs"]["judge"] == "agent/judge"


def test_the_sample_alone_compares_ensembles_of_the_mock(evaluate: Command) -> None:
    options = ("--sample", "--limit", "8", "--format", "json")
    process = evaluate.finish(*options, USE_LLM_MOCK="true")
    assert "the sample's own file, with the mock" in process.err
    report = json.loads(process.out)
    ensembles = [each for each in report["contestants"] if each["kind"] == "ensemble"]
    assert [each["name"] for each in ensembles] == ["vote", "synthesize", "solo"]
    assert all(each["cost_usd"]["mean"] and each["right"]["count"] for each in ensembles)
    assert not any(each["error"] for each in report["answers"])


def test_every_broken_line_is_named_before_any_request(evaluate: Command) -> None:
    sent = evaluate.count_requests()
    repeated = '{"id": "q1", "question": "Again?", "numeric": 1}'
    broken = ("{", repeated, '{"question": ""}', '{"question": "x", "answer": 1}')
    with (evaluate.folder / "questions.jsonl").open("a") as file:
        file.writelines(f"\n{line}" for line in broken)
    process = evaluate.finish(*ALL, code=2)
    lines = process.err.splitlines()
    assert [f": line {13 + at}: " in line for at, line in enumerate(lines)] == [True] * 4
    assert "it is not valid JSON" in lines[0]
    assert not (evaluate.folder / "results").exists()
    assert evaluate.count_requests() == sent


def test_a_question_without_a_reference_needs_a_judge(evaluate: Command) -> None:
    (evaluate.folder / "questions.jsonl").write_text('{"id": "sea", "question": "Describe it."}\n')
    text = ENSEMBLES.replace("[agents.judge]", "[agents.referee]")
    (evaluate.folder / "ensembles.toml").write_text(text)
    assert "--judge is needed" in evaluate.finish(*ALL, code=2).err
    evaluate.finish(*ALL, "--judge", "agent/referee")
    assert evaluate.read_report()["pairs"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_with_the_results_so_far_and_the_same_command_continues(
    evaluate: Command, number: signal.Signals
) -> None:
    before = evaluate.count_requests()
    process = evaluate.start(*WAITING)
    wait_until(process, lambda: evaluate.count_requests() > before + 2)
    process.signal(number)
    assert process.wait() == 130, process.err
    assert "The same command continues" in process.err
    assert "questions.jsonl --ensembles waiting --out results" in process.err
    report = evaluate.read_report()
    assert report["stopped"] == "interrupted"
    assert 0 < len(report["answers"]) < 2 * len(QUESTIONS)
    evaluate.finish(*WAITING)
    assert evaluate.read_report()["stopped"] is None
    assert evaluate.count_requests() == before + len(QUESTIONS)  # none was sent twice


def test_a_second_ctrl_c_ends_at_once_and_the_same_command_continues(evaluate: Command) -> None:
    text = ENSEMBLES.replace("first_ms=300", "first_ms=86000000")
    (evaluate.folder / "ensembles.toml").write_text(text)
    before = evaluate.count_requests()
    process = evaluate.start(*WAITING)
    wait_until(process, lambda: evaluate.count_requests() > before + 1)
    process.signal(signal.SIGINT)
    wait_until(process, lambda: "second Ctrl-C" in process.err)
    process.signal(signal.SIGINT)
    assert process.wait() == 130
    assert "The same command continues" in process.err


def test_a_killed_evaluation_continues(evaluate: Command) -> None:
    before = evaluate.count_requests()
    process = evaluate.start(*WAITING)
    wait_until(process, lambda: evaluate.count_requests() > before + 4)
    process.crash()
    evaluate.finish(*WAITING)
    report = evaluate.read_report()
    assert len(report["answers"]) == 2 * len(QUESTIONS)
    assert not any(each["error"] for each in report["answers"])
    # Only the two answers in progress were sent again.
    assert evaluate.count_requests() <= before + len(QUESTIONS) + 2


def test_a_budget_ends_with_a_code_of_its_own(evaluate: Command) -> None:
    process = evaluate.finish(*WAITING, "--max-cost-usd", "0.00105", code=3)
    assert "The same command continues with a larger budget" in process.err
    report = evaluate.read_report()
    assert report["stopped"] == "budget"
    assert report["spent_usd"] <= 0.00105


def test_failed_model_servers_end_with_a_code_of_their_own(evaluate: Command) -> None:
    process = evaluate.finish(*WAITING, code=4, LLM_BASE_URL="http://127.0.0.1:9/v1")
    assert "failed at the model servers" in process.err
    evaluate.finish(*WAITING[:-3], "other")


def test_two_evaluations_of_one_folder_are_refused(evaluate: Command) -> None:
    (evaluate.folder / "second").mkdir()
    first = evaluate.start(*WAITING)
    wait_until(first, (evaluate.folder / "results" / "state.jsonl").exists)
    out = str(evaluate.folder / "results")
    questions = str(evaluate.folder / "questions.jsonl")
    second = Command(evaluate.folder / "second", evaluate.llm)
    process = second.finish(questions, "--ensembles", "waiting", "--out", out, code=2)
    assert "in use by another evaluation" in process.err
    assert first.wait() == 0


def test_with_accounts_the_runs_belong_to_the_named_user(evaluate: Command) -> None:
    assert "name a user" in evaluate.finish(*WAITING, code=2, AUTH="required").err
    database = f"sqlite:///{evaluate.folder}/service.db"
    added = fork(evaluate.folder, "users", "add", "ada", AUTH="required", DATABASE_URL=database)
    assert added.wait() == 0, added.err
    evaluate.finish(*WAITING, "--limit", "1", "--user", "ada", AUTH="required")
    usage = fork(evaluate.folder, "usage", "--user", "ada", "--json", DATABASE_URL=database)
    assert usage.wait() == 0, usage.err
    assert json.loads(usage.out)["total"]["runs"] == 1
