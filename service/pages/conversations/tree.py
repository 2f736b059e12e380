"""The runs of a conversation as a tree: which question follows which answer. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from service.store.lists.outlines import OutlinedRun


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeStep:
    """A run in the tree, numbered from 1 in the order of the questions.

    `parent` is the number of the run after which it was asked, 0 for none; `depth` counts the
    branches on the way to it. `is_branch`: an earlier run follows the same parent.
    """

    run: OutlinedRun
    number: int
    parent: int
    depth: int
    is_branch: bool


def make_tree(runs: Sequence[OutlinedRun]) -> Sequence[TreeStep]:
    """Return the runs so that each is after its parent and next to its own branch.

    `runs` are ordered from the oldest. The tree is flat, because a conversation can branch at each
    of a thousand questions.
    """
    parents = _find_parents(runs)
    children: dict[int, list[int]] = {}
    for number, parent in enumerate(parents, 1):
        children.setdefault(parent, []).append(number)
    steps: list[TreeStep] = []
    # The last is visited first. A branch is complete before the line that it left continues.
    pending = [(number, 0) for number in _order(children, 0)]
    while pending:
        number, depth = pending.pop()
        parent = parents[number - 1]
        is_branch = number != children[parent][0]
        depth += is_branch
        step = TreeStep(
            run=runs[number - 1], number=number, parent=parent, depth=depth, is_branch=is_branch
        )
        steps.append(step)
        pending += [(each, depth) for each in _order(children, number)]
    return steps


def _order(children: dict[int, list[int]], parent: int) -> Sequence[int]:
    return children.get(parent, [])[::-1]


def _find_parents(runs: Sequence[OutlinedRun]) -> Sequence[int]:
    """Return the number of each run's parent, as the history of a question is selected.

    It is the last run that was not replaced before the run, and up to the one that it follows.
    """
    current: list[tuple[str, int]] = []  # ids of runs that were not replaced, with their numbers
    parents: list[int] = []
    for number, run in enumerate(runs, 1):
        last = next(
            (each for id_, each in reversed(current) if not run.follows or id_ <= run.follows), 0
        )
        parents.append(last)
        if run.superseded_by is None:
            current.append((run.id, number))
    return parents
