"""OpenAI's SDK for Node: what it has to say is in `node/*.test.mjs`, each test a sentence."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.clients.programs import NODE_FOLDER, node
from tests.served.processes import Process

_PATIENCE_S = 120.0  # for a whole file of tests, on a machine that has other things to do


@pytest.mark.parametrize("file", sorted(path.name for path in NODE_FOLDER.glob("*.test.mjs")))
def test_openai_node_finds_what_it_expects(
    file: str, service: Process, impatient: Process, mock_llm: Process
) -> None:
    told = {
        "SERVICE_URL": service.url,
        "IMPATIENT_URL": impatient.url,
        "MODELS_URL": mock_llm.url.removesuffix("/v1"),
    }
    ran = subprocess.run(
        [node(), "--test", "--test-reporter=spec", file],
        cwd=NODE_FOLDER,
        env={**os.environ, **told},
        capture_output=True,
        text=True,
        timeout=_PATIENCE_S,
        check=False,
    )
    assert ran.returncode == 0, f"{ran.stdout}\n{ran.stderr}"
