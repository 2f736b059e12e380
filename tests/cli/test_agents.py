"""The command `agents`: a report of stored runs as a table and as JSON."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from service.cli.main import main
from service.domain import AgentReport, Usage
from service.store.database import Database
from service.store.feedback.feedback import FeedbackStore
from service.store.feedback.records import Rating
from service.store.journal.batch import Batch
from service.store.journal.writer import JournalWriter
from service.store.migrate import migrate
from tests._support.runs.store_records import (
    ME,
    NOW,
    make_agent_answer,
    make_run,
    make_run_end,
)

_HOSTILE = "\x1b[2Jevil\n\u202eagent"
_MEMBERS = ("good", "better", _HOSTILE)
_CONFIG = json.dumps({"strategy": "vote", "agents": [{"name": each} for each in _MEMBERS]})
_VOTES = {"votes": {"groups": [{"answer": "4", "agents": ["good", "better"], "share": 1.0}]}}
_RUNS = 30


@pytest.fixture(autouse=True)
def _file(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A database with votes in which one of three agents always fails."""
    monkeypatch.setenv("DATABASE_URL", sqlite_url)
    asyncio.run(_fill(sqlite_url))
    return Path(sqlite_url.removeprefix("sqlite:///"))


async def _fill(url: str) -> None:
    await migrate(url)
    database = Database(url)
    runs = [make_run(ensemble="panel", config=_CONFIG, config_hash="panel") for _ in range(_RUNS)]
    answers = [make_agent_answer(run, name) for run in runs for name in _MEMBERS]
    answers = [
        replace(each, state="failed", code="upstream_busy", report=_make_failed())
        if each.agent == _HOSTILE
        else each
        for each in answers
    ]
    ends = [make_run_end(run, findings=json.dumps(_VOTES), answered_by="good") for run in runs]
    await JournalWriter(database).write(Batch(openings=runs, answers=answers, endings=ends))
    store = FeedbackStore(database)
    await store.put(ME, runs[0].run_id, Rating(score=0.5, better="better"), NOW)
    await store.put(ME, runs[0].run_id, Rating(agent="good", thumb="up"), NOW)
    await database.close()


def _make_failed() -> AgentReport:
    return AgentReport(
        agent=_HOSTILE,
        model="m",
        text="",
        usage=Usage(),
        cost=None,
        elapsed_ms=5.0,
        first_token_ms=None,
        retries=2,
        hedges=0,
    )


def _run(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert main(("agents", *arguments)) == 0
    return capsys.readouterr().out


def _run_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    return json.loads(_run(capsys, *arguments, "--json"))


def test_the_report_names_the_agent_that_always_fails(capsys: pytest.CaptureFixture[str]) -> None:
    report = _run_json(capsys)
    (ensemble,) = report["ensembles"]
    assert (report["runs"], ensemble["answers"]) == (_RUNS, _RUNS)
    assert (ensemble["drop"]["agent"], ensemble["drop"]["reasons"]) == (_HOSTILE, ["unused"])
    agents = {each["agent"]: each for each in ensemble["agents"]}
    failing, good = agents[_HOSTILE], agents["good"]
    assert failing["failures"]["upstream_busy"]["count"] == failing["failed"]["count"] == _RUNS
    assert failing["failed"]["low"] > 0.8
    assert (failing["retries"], failing["calls_without_counts"]) == (2 * _RUNS, 0)
    assert (failing["without"]["changed"]["count"], failing["part"]["count"]) == (0, 0)
    assert failing["without"]["changed"]["high"] < 0.15
    assert good["without"]["changed"]["share"] == 0
    assert good["cost"] == good["without"]["saved_cost_per_run"] * _RUNS == 0.5 * _RUNS
    assert (good["feedback"]["mean_score"], agents["better"]["feedback"]["preferred"]) == (1.0, 1)
    assert (ensemble["feedback"]["mean_score"], ensemble["feedback"]["preferred"]) == (0.5, 1)
    verdicts = {each["with"]: each["verdict"] for each in failing["compared"]}
    assert verdicts == {"good": "worse", "better": "worse"}


def test_texts_of_others_cannot_control_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    shown = _run(capsys)
    assert "\\u001b[2Jevil\\n\\u202eagent can be dropped" in shown
    assert all(each.isprintable() or each == "\n" for each in shown)
    lines = shown.splitlines()
    assert lines[0].startswith(
        "panel (vote): 30 runs, 0 without an answer; ratings of answers: 0.50"
    )
    assert lines[2].split()[:3] == ["AGENT", "CALLS", "FAILED"]


def test_runs_are_selected_by_ensemble_user_and_time(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run_json(capsys, "--ensemble", "panel", "--user", ME, "--since", "1h")["runs"] == _RUNS
    assert _run_json(capsys, "--ensemble", "other")["ensembles"] == []
    assert _run_json(capsys, "--user", "ann")["ensembles"] == []
    assert _run(capsys, "--since", "2999-01-01").startswith("No run has ended since 2999")


@pytest.mark.parametrize("since", ["30", "d", "-1d", "0d", "yesterday", "2026-13-01", "99999999d"])
def test_a_time_that_cannot_be_read_is_refused(
    capsys: pytest.CaptureFixture[str], since: str
) -> None:
    with pytest.raises(SystemExit) as left:
        main(("agents", f"--since={since}"))
    assert left.value.code == 2
    assert "must be a span such as 30d, or a day" in capsys.readouterr().err
