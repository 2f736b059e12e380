"""Services whose agents are third-party model servers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests._support.llm.ensembles import as_toml
from tests._support.real.servers import LITELLM_KEY, MODEL
from tests._support.servers.processes import Process, run_server
from tests._support.servers.services import UNHURRIED_STORE

AGENTS = ("llm-1", "llm-2", "llm-combine")


@contextlib.contextmanager
def run_service(
    folder: Path,
    base_url: str,
    model: str = MODEL,
    settings: Mapping[str, str] | None = None,
    **keys: Any,
) -> Iterator[Process]:
    """Run a service with the ensembles `fanout` and `solo`, whose agents all are `model`
    of the server at `base_url`.

    `settings` are further settings, `keys` further keys of every agent. Each question reaches the
    server, and an answer of `solo` that breaks off is not continued.
    """
    agent = {"model": model, "max_tokens": 32, "temperature": 0, "retries": 0, **keys}
    agents = dict.fromkeys(AGENTS, agent)
    ensembles: Mapping[str, Mapping[str, Any]] = {
        "fanout": {"agents": ["llm-1", "llm-2"], "combiner": "llm-combine"},
        "solo": {"strategy": "solo", "agents": ["llm-1"], "continue": 0},
    }
    file = folder / "ensembles.toml"
    file.write_text(as_toml(agents, ensembles, {}, base_url))
    environment = {
        "USE_LLM_MOCK": "false",
        "LLM_BASE_URL": base_url,
        "LLM_KEY": LITELLM_KEY,
        "ENSEMBLES_FILE": str(file),
        "DETACH_GRACE_S": "1",
        **UNHURRIED_STORE,
        **(settings or {}),
    }
    with run_server(folder, "serve", "--port", "0", **environment) as process:
        yield process
