"""The members of an ensemble: its agents in their layers, and the faults of its table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from service.ensembles.agents import Agent
from service.ensembles.tables import EnsembleTable

INSTANCE = "#"  # between the name of an agent that is asked several times, and its number

# The keys that name one agent with a task of its own.
ROLES = ("combiner", "judge", "chair")


def list_layers(table: EnsembleTable) -> Sequence[Sequence[str]]:
    """Return the names of the agents in their layers; without `layers` there is one."""
    return table.layers or [table.agents or []]


def build_layers(
    table: EnsembleTable, agents: Mapping[str, Agent]
) -> tuple[tuple[Agent, ...], ...]:
    """Return the agents in their layers; one that is named several times has numbered copies.

    The copies of `a` are `a#1`, `a#2` and so on. Each sends another `seed`.
    """
    layers = list_layers(table)
    times = Counter(name for layer in layers for name in layer)
    seen: Counter[str] = Counter()

    def member(name: str) -> Agent:
        if times[name] == 1:
            return agents[name]
        seen[name] += 1
        return agents[name].derive(f"{name}{INSTANCE}{seen[name]}", instance=seen[name])

    return tuple(tuple(member(name) for name in layer) for layer in layers)


def find_member_faults(
    table: EnsembleTable, agents: Mapping[str, Agent]
) -> Iterator[tuple[str, str]]:
    """Yield the key and the reason of each fault in the members of an ensemble."""
    key = "layers" if table.layers else "agents"
    names = [name for layer in list_layers(table) for name in layer]
    roles = {role: name for role in ROLES if (name := getattr(table, role))}
    for place, wanted in [*((key, each) for each in names), *roles.items()]:
        if wanted not in agents:
            yield place, f"there is no agent named {wanted!r}"
    if not names:
        yield "agents", "this key is missing"
    if table.layers and table.agents:
        yield "agents", "the agents are those of layers; remove this key"
    if table.layers and (repeated := _find_repeated(table.layers)):
        why = f"{repeated!r} is in two layers and would read its own answer, which is a loop"
        yield "layers", f"{why}; define a second agent with the same model"
    for role, name in roles.items():
        others = [other for other in roles if other != role and roles[other] == name]
        if name in names or others:
            places = key if name in names else others[0]
            yield role, f"{name!r} is also in {places}; define a second agent for the second task"
    if table.straggler_max_s and table.straggler_grace_s != "auto":
        yield "straggler_max_s", 'it limits only straggler_grace_s = "auto"'
    if table.min_answers > len(names) > 0:
        yield (
            "min_answers",
            (f"{table.min_answers} answers can never come from {len(names)} agents"),
        )


def _find_repeated(layers: Sequence[Sequence[str]]) -> str | None:
    """Return an agent that is in more than one layer."""
    times = Counter(name for layer in layers for name in set(layer))
    return next((name for name, number in times.items() if number > 1), None)
