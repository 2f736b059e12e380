"""`top` and the plugin for the program `llm`, against a running service."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests._support.clients.api import Api
from tests._support.paths import ROOT
from tests._support.patience import PATIENCE_S
from tests._support.servers.processes import Process, environment
from tests._support.terminal.client import on_terminal, run_piped

PLUGIN = ROOT / "clients" / "llm-plugin"


async def test_one_picture_has_the_figures_of_the_service(
    service: Process, api: Api, tmp_path: Path
) -> None:
    await api.ask(ensemble="fanout")
    done = run_piped(tmp_path, "top", "--once", "--json", "--url", service.url)
    picture = json.loads(done.stdout)
    assert picture["status"] == "ok"
    [row] = [each for each in picture["ensembles"] if each["ensemble"] == "fanout"]
    assert row["completed_per_min"] > 0
    assert {"llm-1", "llm-2"} <= {each["agent"] for each in picture["agents"]}
    shown = run_piped(tmp_path, "top", "--once", "--url", service.url)
    assert "fanout" in shown.stdout.decode()


def test_the_live_view_is_left_with_ctrl_c(service: Process, tmp_path: Path) -> None:
    arguments = ("top", "--interval", "0.2", "--url", service.url)
    with on_terminal(tmp_path, *arguments) as terminal:
        terminal.wait_for("in the last")
        terminal.type("\x03")
        assert terminal.wait() == 0
    assert b"\x1b[?1049l" in terminal.output  # the former screen is shown again


def test_a_service_that_does_not_answer_is_named(tmp_path: Path) -> None:
    done = run_piped(tmp_path, "top", "--once", "--url", "http://127.0.0.1:1")
    assert done.returncode == 1
    assert b"http://127.0.0.1:1 cannot be reached" in done.stderr


# --- the program llm ---


def _install_plugin(folder: Path) -> Path:
    """Install the plugin without the network: its module, and the metadata of its entry point."""
    site = folder / "site"
    metadata = site / "llm_sse_service_plugin-0.1.0.dist-info"
    metadata.mkdir(parents=True)
    shutil.copy(PLUGIN / "llm_sse_service.py", site)
    (metadata / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: llm-sse-service-plugin\nVersion: 0.1.0\n"
    )
    (metadata / "entry_points.txt").write_text("[llm]\nllm_sse_service = llm_sse_service\n")
    return site


def _llm(folder: Path, url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    site = folder / "site" if (folder / "site").exists() else _install_plugin(folder)
    variables = {"LLM_SSE_URL": url, "LLM_USER_PATH": str(folder / "llm")}
    variables = environment(variables) | {"PYTHONPATH": f"{site}{os.pathsep}{ROOT}"}
    return subprocess.run(
        [sys.executable, "-m", "llm", *arguments],
        env=variables,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def test_llm_asks_an_ensemble_and_continues(service: Process, tmp_path: Path) -> None:
    first = _llm(tmp_path, service.url, "-m", "fanout", "Why?", "-o", "max_tokens", "50")
    assert first.returncode == 0, first.stderr
    assert first.stdout.strip()
    second = _llm(tmp_path, service.url, "-c", "And at night?")
    assert second.returncode == 0, second.stderr
    logged = json.loads(_llm(tmp_path, service.url, "logs", "--json").stdout)
    assert len({each["conversation_id"] for each in logged}) == 1
    assert all(each["input_tokens"] and each["output_tokens"] for each in logged)


def test_llm_lists_the_last_models_while_the_service_is_down(
    service: Process, tmp_path: Path
) -> None:
    listed = _llm(tmp_path, service.url, "models", "--query", "fanout")
    assert "LLM SSE Service: fanout" in listed.stdout
    nowhere = _llm(tmp_path, "http://127.0.0.1:1", "models")
    assert nowhere.returncode == 0
    assert "LLM SSE Service" not in nowhere.stdout
    failed = _llm(tmp_path, service.url, "-m", "agent/bad-status", "Why?")
    assert failed.returncode == 1
    assert failed.stderr.startswith("Error: ")
