"""A local observability stack for tests: its plan, and the services that export to it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from tests._support.servers.processes import Process
from tools.observe import addresses
from tools.observe.programs import Plan

# The configuration's own 15 s are for people. Scraped twice as often as they are made, so that
# no exemplar is replaced before it was seen.
FLUSH, SCRAPE = {"OTELCOL_FLUSH_INTERVAL": "2s"}, "1s"


def plan(binaries: Path, folder: Path, app_port: int = 0, **environment: str) -> Plan:
    """Return a stack on free ports that makes and scrapes metrics every other second."""
    at = addresses.find_free()
    if app_port:
        at = replace(at, app=f"{addresses.HOST}:{app_port}")
    return Plan(binaries, folder, at, scrape_interval=SCRAPE, environment=FLUSH | environment)


Serve = Callable[..., AbstractContextManager[Process]]
