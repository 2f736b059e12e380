"""The arguments of the command `evaluate`: those that it refuses, and its defaults."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from service.cli.main import main

ENSEMBLES = """
default = "strong"
[agents.a]
model = "mock-a?skill=0.5&first_ms=1&gap_ms=0"
[agents.b]
model = "mock-b?skill=0.5&first_ms=1&gap_ms=0"
[agents.judge]
model = "mock-judge?judge=0.9&first_ms=1&gap_ms=0"
[ensembles.weak]
strategy = "solo"
agents = ["b"]
[ensembles.strong]
strategy = "solo"
agents = ["a"]
"""
QUESTIONS = ({"question": "What is 2 + 3?", "numeric": 5}, {"question": "Describe the sea."})


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test in a folder of its own, with an ensembles file and two questions."""
    (tmp_path / "ensembles.toml").write_text(ENSEMBLES)
    (tmp_path / "questions.jsonl").write_text("\n".join(map(json.dumps, QUESTIONS)))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("absent.jsonl", "--ensembles", "strong"), "cannot be read"),
        (("questions.jsonl", "--ensembles", "stron"), "did you mean strong"),
        (("questions.jsonl", "--ensembles", "agent/a"), "needs the name of an ensemble"),
        (("questions.jsonl", "--ensembles", "strong", "--judge", "agent/x"), "no agent named x"),
        (("questions.jsonl", "--ensembles", "strong", "--topic", "x"), "--topic"),
        (("questions.jsonl", "--ensembles", "strong", "--max-cost-usd", "1"), "has no price"),
        (("questions.jsonl", "--ensembles", "strong", "--max-cost-usd", "-1"), "US dollars"),
        (("questions.jsonl", "--ensembles", "strong", "--concurrency", "0"), "positive"),
        (("questions.jsonl", "--ensembles", "strong", "--user", "nobody"), "no user named nobody"),
        (("questions.jsonl", "--sample"), "not allowed with"),
        (("--ensembles", "strong"), "required"),
    ],
)
def test_wrong_arguments_are_refused(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main(["evaluate", *arguments])
    except SystemExit as exit_:
        code = exit_.code  # type: ignore[assignment]  # of argparse, an int
    assert code == 2
    assert message in capsys.readouterr().err
    assert not Path("evaluations").exists()  # no evaluation has started


def test_without_names_the_default_ensemble_and_the_agent_judge_are_used(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["evaluate", "questions.jsonl", "--format", "json"]) == 0
    printed = capsys.readouterr()
    assert "Ensembles: strong; judge: judge, of the ensembles file, by default." in printed.err
    report = json.loads(printed.out)
    assert [each["name"] for each in report["contestants"]] == ["strong", "agent/a"]
    assert report["inputs"]["judge"] == "agent/judge"


def test_named_ensembles_are_those_of_the_configured_file_also_with_the_sample(
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = ("--ensembles", "weak", "--limit", "1", "--format", "json")
    assert main(["evaluate", "--sample", *options]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["contestants"][0]["name"] == "weak"


def test_a_database_that_does_not_answer_is_a_failure_and_no_wrong_argument(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://127.0.0.1:9/none")
    assert main(["evaluate", "questions.jsonl"]) == 1
    assert "database" in capsys.readouterr().err.lower()
