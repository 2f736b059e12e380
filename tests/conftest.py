"""What every test gets: an environment without the settings of whoever runs it, and models."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from service.settings import KNOWN
from tests.served.processes import Process, announced


@pytest.fixture(autouse=True)
def _no_settings_of_the_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.upper() in KNOWN or name.startswith("OTEL_"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def mock_llm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """The models' server; `url` ends in /v1."""
    with announced(tmp_path_factory.mktemp("mock"), "mock", "--port", "0") as process:
        yield process
