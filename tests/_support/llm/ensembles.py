"""Ensembles for served tests; the model names tell the mock LLM how to answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

QUICK = "tokens=20&first_ms=5&gap_ms=2"
ENDLESS = "tokens=3000&first_ms=5&gap_ms=10"

Table = Mapping[str, Any]


def _agent(options: str, **keys: Any) -> Table:
    return {"model": f"mock?{options}", "max_tokens": 1_000_000, "retries": 0, **keys}


_HASTY = {"first_token_timeout_s": 0.3, "idle_timeout_s": 0.3, "timeout_s": 3}

# Agents that go wrong, each in its own way.
FAULTS: Mapping[str, Table] = {
    "status": _agent("fault=status&status=500"),
    "bad-key": _agent("fault=status&status=401"),
    "busy": _agent("fault=status&status=429"),
    "refuse": _agent("fault=refuse"),
    "hang": _agent("fault=hang", **_HASTY),
    "stall": _agent(f"{QUICK}&fault=stall", **_HASTY),
    "drip": _agent(f"{QUICK}&fault=drip&drip_ms=50", first_token_timeout_s=0.3),
    "reset": _agent(f"{QUICK}&fault=reset"),
    "cut": _agent(f"{QUICK}&fault=cut"),
    "garbage": _agent(f"{QUICK}&fault=garbage"),
    "error-object": _agent(f"{QUICK}&fault=error_object"),
    "binary": _agent("fault=binary"),
    "empty": _agent("fault=empty"),
    "reset-at-once": _agent(f"{QUICK}&fault=reset&after=0"),
}

# Odd ways to answer that are none the less right.
ODDITIES: Mapping[str, Table] = {
    name: _agent(f"{QUICK}&fault={name}")
    for name in ("split_utf8", "crlf", "no_done", "double_done", "no_usage")
}

AGENTS: Mapping[str, Table] = {
    "llm-1": _agent(f"{QUICK}&seed=1", prompt="Be inventive."),
    "llm-2": _agent(f"{QUICK}&seed=2", prompt="Be factual."),
    "llm-combine": _agent("tokens=30&first_ms=5&gap_ms=2", prompt="Combine."),
    "assistant": _agent(QUICK),
    "endless-1": _agent(ENDLESS),
    "endless-2": _agent(ENDLESS),
    "endless-combine": _agent(ENDLESS),
    "hung-1": _agent("fault=hang"),
    "hung-2": _agent("fault=hang"),
    "steady": _agent("tokens=70&first_ms=5&gap_ms=20"),
    "ticking": _agent("tokens=5000&first_ms=5&gap_ms=20"),
    "brief": _agent("tokens=40&first_ms=5&gap_ms=20"),
    "gusher": {"model": "gusher", "max_tokens": 1_000_000, "retries": 0},
    "blabber": {"model": "blabber", "retries": 0},
    "wordy": _agent("tokens=60&first_ms=5&gap_ms=0", max_tokens=1000),
    "whole": _agent(QUICK, stream=False),
    "again": _agent(f"{QUICK}&fault=status&status=429&retry_after=0.05&times=1", retries=2),
    "stand-in": _agent("fault=status&status=400", fallbacks=[f"mock?{QUICK}"]),
    **{f"bad-{name}": agent for name, agent in FAULTS.items()},
    **{f"odd-{name}": agent for name, agent in ODDITIES.items()},
}

ENSEMBLES: Mapping[str, Table] = {
    "fanout": {"agents": ["llm-1", "llm-2"], "combiner": "llm-combine"},
    "solo": {"strategy": "solo", "agents": ["assistant"]},
    "wordy": {"strategy": "solo", "agents": ["wordy"]},
    "whole": {"strategy": "solo", "agents": ["whole"]},
    "hung": {"agents": ["hung-1", "hung-2"], "combiner": "llm-combine"},
    "hung-for-a-while": {
        "agents": ["hung-1", "hung-2"],
        "combiner": "llm-combine",
        "timeout_s": 0.5,
    },
    "hung-for-longer": {
        "agents": ["hung-1", "hung-2"],
        "combiner": "llm-combine",
        "timeout_s": 1.6,
    },
    "endless": {"agents": ["endless-1", "endless-2"], "combiner": "llm-combine"},
    "endless-answer": {"agents": ["llm-1", "llm-2"], "combiner": "endless-combine"},
    "ticking": {"strategy": "solo", "agents": ["ticking"]},
    "steady": {"agents": ["llm-1", "llm-2"], "combiner": "steady"},
    "brief": {"agents": ["llm-1", "llm-2"], "combiner": "brief"},
    "blabbing": {"strategy": "solo", "agents": ["blabber"]},
    "huge": {"strategy": "solo", "agents": ["gusher"]},
    "again": {"agents": ["llm-1", "again"], "combiner": "llm-combine"},
    "straggling": {
        "agents": ["llm-1", "endless-1"],
        "combiner": "llm-combine",
        "straggler_grace_s": 0.2,
    },
    "mute-straggler": {
        "agents": ["llm-1", "hung-1"],
        "combiner": "llm-combine",
        "straggler_grace_s": 0.05,
    },
    "both-needed": {
        "agents": ["llm-1", "bad-status"],
        "combiner": "llm-combine",
        "min_answers": 2,
    },
    "both-bad": {"agents": ["bad-status", "bad-cut"], "combiner": "llm-combine", "continue": 0},
    "all-degraded": {"agents": ["llm-1", "bad-busy"], "combiner": "bad-status"},
    "combiner-stands-in": {"agents": ["llm-1", "llm-2"], "combiner": "stand-in"},
    **{
        f"one-{name}": {
            "agents": ["llm-1", f"bad-{name}"],
            "combiner": "llm-combine",
            "continue": 0,
        }
        for name in FAULTS
    },
    **{
        f"combiner-{name}": {
            "agents": ["llm-1", "llm-2"],
            "combiner": f"bad-{name}",
            "continue": 0,
        }
        for name in FAULTS
    },
    **{f"odd-{name}": {"strategy": "solo", "agents": [f"odd-{name}"]} for name in ODDITIES},
}

PRICES: Mapping[str, Table] = {f"mock?{QUICK}": {"input": 1.0, "output": 2.0}}


def toml(gusher_url: str = "http://127.0.0.1:9/v1", base_url: str = "") -> str:
    """Return all of it as an `ensembles.toml`; two models are asked at a server of their own.

    The models at `base_url` may fail as often as they do.
    """
    there = {"base_url": gusher_url}
    agents = {**AGENTS, **{name: {**AGENTS[name], **there} for name in ("gusher", "blabber")}}
    return as_toml(agents, ENSEMBLES, PRICES, base_url)


def as_toml(
    agents: Mapping[str, Table],
    ensembles: Mapping[str, Table],
    prices: Mapping[str, Table],
    unguarded: str = "",
) -> str:
    """Return these as the text of an `ensembles.toml`.

    The server `unguarded` has no circuit breakers, since tests of one service share its failing
    models, and no hedges, since a busy machine makes calls late.
    """
    tables = {
        **{f"agents.{name}": table for name, table in agents.items()},
        **{f"ensembles.{name}": table for name, table in ensembles.items()},
        **{f'prices."{model}"': table for model, table in prices.items()},
        **({f'endpoints."{unguarded}"': {"breaker": False, "hedge": 0}} if unguarded else {}),
    }
    return "\n".join(
        f"[{name}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items())
        for name, table in tables.items()
    )
