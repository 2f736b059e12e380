"""Tests of runs use an event loop that skips waits: seconds are exact and take no time."""

from collections.abc import Callable, Mapping
from typing import Any

from tests._support.llm.scripted import SkippingLoop


def pytest_asyncio_loop_factories(config: Any, item: Any) -> Mapping[str, Callable[[], Any]]:
    return {"skipping": SkippingLoop}
