"""What every test gets: an environment without the settings of whoever runs it."""

from __future__ import annotations

import os

import pytest

from service.settings import WITHOUT_EFFECT, Settings

_OURS = {name.upper() for name in Settings.model_fields} | WITHOUT_EFFECT


@pytest.fixture(autouse=True)
def _no_settings_of_the_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.upper() in _OURS or name.startswith("OTEL_"):
            monkeypatch.delenv(name)
