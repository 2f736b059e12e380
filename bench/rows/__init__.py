"""The rows of the table by name. A new row needs a function and a line here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from bench.lab import Lab
from bench.rows.abandoned import measure_abandoned
from bench.rows.access import measure_access
from bench.rows.agents import measure_agents
from bench.rows.back_to_back import measure_back_to_back
from bench.rows.cut import measure_cut
from bench.rows.growth import measure_growth_postgresql, measure_growth_sqlite
from bench.rows.limits import measure_limits
from bench.rows.memory import measure_memory
from bench.rows.peers import measure_litellm, measure_original
from bench.rows.run import measure_burst, measure_run
from bench.rows.saturation import measure_saturation
from bench.rows.search import measure_search_postgresql, measure_search_sqlite
from bench.rows.stall import measure_stall
from bench.rows.start import measure_start
from bench.rows.store import (
    measure_store,
    measure_store_cost,
    measure_store_first_token,
    measure_store_short,
)
from bench.rows.tail import measure_tail
from bench.rows.telemetry import measure_collector_effect, measure_telemetry_cost
from bench.rows.workers import measure_workers
from bench.table import Line

Row = Callable[[Lab], Awaitable[list[Line]]]

ROWS: dict[str, Row] = {
    "run": measure_run,
    "burst": measure_burst,
    "original": measure_original,
    "litellm": measure_litellm,
    "workers": measure_workers,
    "back-to-back": measure_back_to_back,
    "start": measure_start,
    "memory": measure_memory,
    "abandoned": measure_abandoned,
    "stall": measure_stall,
    "agents": measure_agents,
    "saturation": measure_saturation,
    "store": measure_store,
    "store-short": measure_store_short,
    "store-cost": measure_store_cost,
    "store-first-token": measure_store_first_token,
    "search-sqlite": measure_search_sqlite,
    "search-postgresql": measure_search_postgresql,
    "growth-sqlite": measure_growth_sqlite,
    "growth-postgresql": measure_growth_postgresql,
    "limits": measure_limits,
    "tail": measure_tail,
    "cut": measure_cut,
    "telemetry": measure_telemetry_cost,
    "collector": measure_collector_effect,
    "access": measure_access,
}

# Names for several rows, and the rows that are measured only when they are named.
GROUPS = {"peers": ("original", "litellm")}
ON_REQUEST = frozenset({"litellm"})
# Rows that use the mock, whose counters are those of all its clients: never two at once.
MOCK_ROWS = frozenset({"abandoned", "tail", "cut"})
# Rows that take more than three minutes, most of it for databases of a million runs.
SLOW_ROWS = frozenset(
    {"workers", *(name for name in ROWS if name.startswith(("search-", "growth-")))}
)
