"""The command `evaluate` with a small real model: agents, a combiner, a judge, a second start."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests._support.llm.ensembles import as_toml
from tests._support.patience import PATIENCE_S
from tests._support.real.servers import LITELLM_KEY, MODEL, RealServer
from tests._support.servers.processes import Process, fork
from tests._support.servers.services import UNHURRIED_STORE

QUESTIONS: list[dict[str, Any]] = [
    {"id": "sum", "question": "What is 2 + 2?", "numeric": 4},
    {"id": "sea", "question": "Describe the sea in one sentence.", "judged": "It is salty water."},
]
AGENT: dict[str, Any] = {"model": MODEL, "max_tokens": 16, "retries": 0}


def _evaluate(folder: Path, llama: RealServer) -> Process:
    """Run the command to its end."""
    process = fork(
        folder,
        "evaluate",
        *("questions.jsonl", "--ensembles", "fanout,solo", "--judge", "agent/judge"),
        *("--out", "results", "--concurrency", "8", "--no-equal-cost"),
        USE_LLM_MOCK="false",
        LLM_BASE_URL=llama.url,
        LLM_KEY=LITELLM_KEY,
        **UNHURRIED_STORE,
    )
    assert process.popen.wait(3 * PATIENCE_S) == 0, process.err
    return process


def test_a_small_model_is_evaluated_and_a_second_start_asks_nothing(
    llama: RealServer, tmp_path: Path
) -> None:
    (tmp_path / "questions.jsonl").write_text("\n".join(map(json.dumps, QUESTIONS)))
    agents: dict[str, dict[str, Any]] = {
        name: {**AGENT, "prompt": f"You are {name}."} for name in ("a", "b", "combine")
    }
    agents["judge"] = {**AGENT, "max_tokens": 60}
    ensembles: dict[str, dict[str, Any]] = {
        "fanout": {"agents": ["a", "b"], "combiner": "combine"},
        "solo": {"strategy": "solo", "agents": ["a"]},
    }
    (tmp_path / "ensembles.toml").write_text(as_toml(agents, ensembles, {}, llama.url))
    first = _evaluate(tmp_path, llama)
    report = json.loads((tmp_path / "results" / "report.json").read_text())
    assert report["stopped"] is None
    asked = {(each["contestant"], each["question_id"]) for each in report["answers"]}
    names = [each["name"] for each in report["contestants"]]
    assert asked == {(name, str(each["id"])) for name in names for each in QUESTIONS}
    assert all(each["text"] and each["output_tokens"] for each in report["answers"])
    assert report["pairs"]
    assert report["requests"]["sent"] > 0
    again = _evaluate(tmp_path, llama)
    assert again.out == first.out
    assert json.loads((tmp_path / "results" / "report.json").read_text()) == report
