"""Settings and types of the fixtures that start services."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests._support.servers.processes import Process

KEY = "sk-this-key-must-never-be-seen-0123456789"

# Time for which the impatient service continues a run without a reader. A busy test may need most
# of a second between two requests; a run of the ensemble `steady` takes longer.
GRACE_S = 1.0
IMPATIENT = {
    "KEEP_ALIVE_S": "0.2",
    "DETACH_GRACE_S": str(GRACE_S),
    "BODY_TIMEOUT_S": "1",
    "SEND_TIMEOUT_S": "2",
    "RUN_RETENTION_S": "8",
}
# A busy machine is no outage; tests of outages set a shorter time.
UNHURRIED_STORE = {"STORE_TIMEOUT_S": "60"}


Start = Callable[..., Process]


Told = Callable[[Path], dict[str, str]]
