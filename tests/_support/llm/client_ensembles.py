"""Ensembles for tests of real clients; the model names tell the mock LLM how to answer."""

from __future__ import annotations

from collections.abc import Mapping

from tests._support.llm.ensembles import Table, as_toml

QUICK = "tokens=20&first_ms=5&gap_ms=2"


def _agent(options: str, **keys: object) -> Table:
    return {"model": f"mock?{options}", "max_tokens": 100_000, "retries": 0, **keys}


AGENTS: Mapping[str, Table] = {
    "one": _agent(f"{QUICK}&seed=1", prompt="Be inventive."),
    "two": _agent(f"{QUICK}&seed=2", prompt="Be factual."),
    "joiner": _agent("tokens=30&first_ms=5&gap_ms=5", prompt="Combine."),
    "plain": _agent("first_ms=5&gap_ms=1"),
    "caller": _agent("first_ms=5&gap_ms=2&tool_calls=1"),
    "eager": _agent("first_ms=5&gap_ms=2&tool_calls=2"),
    "uncounted": _agent(f"{QUICK}&fault=no_usage"),
    "steady": _agent("tokens=80&first_ms=5&gap_ms=10"),
    "endless": _agent("tokens=6000&first_ms=5&gap_ms=10"),
    "silent": _agent("tokens=3&first_ms=5&gap_ms=1200"),
    "hung": _agent("fault=hang"),
    "late": _agent("fault=hang", first_token_timeout_s=0.3, timeout_s=0.5),
    "slow": _agent("fault=hang", first_token_timeout_s=2.5, timeout_s=4.0),
    "broken": _agent("fault=status&status=500"),
    "strict": _agent("fault=status&status=400"),
    "busy": _agent("fault=status&status=429&retry_after=1"),
    "busy-once": _agent("tokens=9&fault=status&status=429&retry_after=1&times=1"),
    "breaking": _agent("tokens=90&first_ms=5&gap_ms=2&fault=reset&after=20"),
}


def _solo(name: str) -> Table:
    return {"strategy": "solo", "agents": [name]}


ENSEMBLES: Mapping[str, Table] = {
    "fanout": {"agents": ["one", "two"], "combiner": "joiner"},
    "steady": {"agents": ["one", "two"], "combiner": "steady"},
    "endless": {"agents": ["one", "two"], "combiner": "endless"},
    "breaking": {"agents": ["one", "two"], "combiner": "breaking"},
    "lopsided": {"agents": ["one", "broken"], "combiner": "joiner"},
    "solo": _solo("plain"),
}

# A million dollars per million tokens: each token costs a dollar.
PRICES: Mapping[str, Table] = {
    AGENTS[name]["model"]: {"input": 1e6, "output": 1e6} for name in ("one", "two", "joiner")
}


def toml(base_url: str) -> str:
    """Return all of it as an `ensembles.toml`, for models at `base_url`."""
    return as_toml(AGENTS, ENSEMBLES, PRICES, base_url)
