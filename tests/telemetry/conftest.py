"""Fixtures: a telemetry that collects spans in memory, and one without exporters."""

from collections.abc import Iterator

import pytest

from telemetry import Telemetry
from tests._support.telemetry.capture import Capture, capturing, config


@pytest.fixture
def capture() -> Capture:
    return capturing()


@pytest.fixture
def quiet() -> Iterator[Telemetry]:
    """A telemetry that exports nothing."""
    telemetry = Telemetry(config())
    yield telemetry
    telemetry.shutdown()
