"""The branches of a conversation: the runs that lead to one, and those beside it. No I/O.

A link is the id of a run and that of the run it follows; without one it follows the run before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Links = Sequence[tuple[str, str]]  # oldest first


@dataclass(frozen=True, slots=True)
class Alternatives:
    """Runs that follow the same run; `position` is that of the shown one, from 1."""

    position: int
    count: int
    previous: str | None
    following: str | None


def list_lineage(links: Links, last: str) -> list[str]:
    """Return the runs that led to `last`, which is included, oldest first; empty without it."""
    parents = _find_parents(links)
    found: list[str] = []
    run = last if last in parents else ""
    while run:
        found.append(run)
        run = parents[run]
    return found[::-1]


def find_newest(links: Links, run: str) -> str:
    """Return the newest run that `run` led to, itself without any; "" if there is no such run."""
    parents = _find_parents(links)
    if run not in parents:
        return ""
    led_to = {run}
    for each, parent in parents.items():  # oldest first
        if parent in led_to:
            led_to.add(each)
            run = each
    return run


def find_alternatives(links: Links, run: str) -> Alternatives | None:
    """Return the runs beside `run`; None if there is no other."""
    parents = _find_parents(links)
    beside = [each for each, parent in parents.items() if parent == parents[run]]
    if len(beside) < 2:
        return None
    place = beside.index(run)
    return Alternatives(
        position=place + 1,
        count=len(beside),
        previous=beside[place - 1] if place else None,
        following=beside[place + 1] if place + 1 < len(beside) else None,
    )


def _find_parents(links: Links) -> Mapping[str, str]:
    """Return the run that each run follows, "" for none, oldest first."""
    parents: dict[str, str] = {}
    previous = ""
    for run, follows in links:
        # A run that was superseded or deleted is replaced by the one before it.
        known = (
            follows
            if follows in parents
            else max((each for each in parents if each <= follows), default="")
        )
        parents[run] = known if follows else previous
        previous = run
    return parents
