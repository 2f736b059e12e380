"""Faults of `ensembles.toml`: their search in its tables, and their lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from service.base_url import parse_base_url
from service.ensembles.agents import Agent, find_hedge_faults
from service.ensembles.endpoints import find_endpoint_faults
from service.ensembles.members import find_member_faults
from service.ensembles.tables import EnsemblesTable
from service.ensembles.toml_lines import line_of

# The path of a key, and the reason why its value is refused.
Fault = tuple[tuple[str | int, ...], str]


def find_table_faults(file: EnsemblesTable, agents: Mapping[str, Agent]) -> list[Fault]:
    """Return the faults of the tables that depend on several keys."""
    faults: list[Fault] = []
    if file.default not in file.ensembles:
        faults.append((("default",), f"there is no ensemble named {file.default!r}"))
    for name, agent in agents.items():
        if agent.max_tokens >= agent.context_tokens and file.agents[name].context_tokens:
            why = f"{agent.max_tokens} of max_tokens leave no room for the question"
            faults.append((("agents", name, "context_tokens"), why))
        try:
            parse_base_url(agent.base_url)
        except ValueError as error:
            faults.append((("agents", name, "base_url"), str(error)))
        for key, why in find_hedge_faults(file.agents[name]):
            faults.append((("agents", name, key), why))
    faults += [(("endpoints", *each), why) for *each, why in find_endpoint_faults(file.endpoints)]
    for name, table in file.ensembles.items():
        at = ("ensembles", name)
        faults += [((*at, key), why) for key, why in find_member_faults(table, agents)]
    return faults


def format_faults(faults: Sequence[Fault], text: str, source: str) -> str:
    """Return a line `file:line: key: reason` for each fault."""
    return "\n".join(
        f"{source}:{line_of(text, where)}: {'.'.join(map(str, where)) or 'file'}: {why}"
        for where, why in faults
    )


def reword(message: str) -> str:
    """Return a message of pydantic in the words of the other faults."""
    return {
        "Extra inputs are not permitted": "this key is not known",
        "Field required": "this key is missing",
    }.get(message, message[:1].lower() + message[1:])
