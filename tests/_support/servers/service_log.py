"""The log lines of a service process."""

from __future__ import annotations

import json
from typing import Any

from tests._support.servers.processes import Process


def read_log_lines(process: Process) -> list[dict[str, Any]]:
    """Return the log lines; each must be one JSON object."""
    lines = [json.loads(line) for line in process.err.splitlines() if line[:1] == "{"]
    assert all(isinstance(line, dict) for line in lines)
    return lines


def assert_no_traceback(process: Process) -> None:
    """Require that nothing went wrong inside that only the log would tell."""
    assert "Traceback" not in process.err
    assert "Failed to detach" not in process.err
