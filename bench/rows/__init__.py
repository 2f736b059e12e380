"""The rows of the table, by the name that selects one. A new row is a function and a line here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from bench.lab import Lab
from bench.rows.agents import agents
from bench.rows.latency import latency
from bench.rows.memory import memory
from bench.rows.saturation import saturation
from bench.rows.search import search_postgresql, search_sqlite
from bench.rows.store import store, store_cost, store_first, store_short
from bench.rows.telemetry import telemetry_cost, telemetry_felt
from bench.rows.throughput import back_to_back, throughput
from bench.table import Line

Row = Callable[[Lab], Awaitable[list[Line]]]

ROWS: dict[str, Row] = {
    "latency": latency,
    "throughput": throughput,
    "back-to-back": back_to_back,
    "memory": memory,
    "agents": agents,
    "saturation": saturation,
    "store": store,
    "store-short": store_short,
    "store-cost": store_cost,
    "store-first-token": store_first,
    "search-sqlite": search_sqlite,
    "search-postgresql": search_postgresql,
    "telemetry": telemetry_cost,
    "collector": telemetry_felt,
}
