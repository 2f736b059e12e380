"""OpenAI's SDK for Node: runs the tests in `node/*.test.mjs`."""

from __future__ import annotations

import pytest

from tests._support.servers.processes import Process
from tests._support.servers.programs import NODE_FOLDER, run_node


@pytest.mark.parametrize("file", sorted(path.name for path in NODE_FOLDER.glob("*.test.mjs")))
def test_the_node_tests_pass(
    file: str, service: Process, impatient: Process, own_llm: Process
) -> None:
    told = {
        "SERVICE_URL": service.url,
        "IMPATIENT_URL": impatient.url,
        "MODELS_URL": own_llm.url.removesuffix("/v1"),
    }
    printed = run_node("--test", "--test-reporter=tap", file, **told)
    assert "# fail 0" in printed
    assert "# pass 0" not in printed
