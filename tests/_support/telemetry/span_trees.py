"""The expected span trees of the test ensembles."""

from __future__ import annotations

Tree = tuple[str, list["Tree"]]


def call(model: str) -> Tree:
    return f"chat {model}", [("POST", [])]


def agent(name: str, *calls: Tree) -> Tree:
    return f"invoke_agent {name}", list(calls)


def process(ensemble: str, *agents: Tree) -> Tree:
    """Return the span tree of a run, from the request that started it to its HTTP calls."""
    run = f"invoke_workflow {ensemble}", [END_RUN, *agents]
    return PROCESS, [run, OPEN_RUN]


QUICK = "mock?tokens=20&first_ms=5&gap_ms=2"
PROCESS = "POST /api/process"
OPEN_RUN: Tree = ("open_run", [])
END_RUN: Tree = ("end_run", [])
COMBINE = agent("llm-combine", call("mock?tokens=30&first_ms=5&gap_ms=2"))
LLM_1 = agent("llm-1", call(f"{QUICK}&seed=1"))
LLM_2 = agent("llm-2", call(f"{QUICK}&seed=2"))
