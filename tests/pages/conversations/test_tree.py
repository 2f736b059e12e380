"""The runs of a conversation as a tree of branches."""

from __future__ import annotations

from service.pages.conversations.tree import TreeStep, make_tree
from service.store.lists.outlines import OutlinedRun
from tests._support.runs.store_records import NOW


def _run(name: str, follows: str = "", superseded_by: str | None = None) -> OutlinedRun:
    return OutlinedRun(
        id=name,
        state="completed",
        ensemble="fanout",
        created_at=NOW,
        superseded_by=superseded_by,
        question=f"Question {name}",
        follows=follows,
    )


def _shape(steps: list[TreeStep] | object) -> list[tuple[str, int, int]]:
    assert isinstance(steps, list)
    return [(step.run.id, step.parent, step.depth) for step in steps]


def test_a_conversation_without_branches_is_a_line() -> None:
    steps = make_tree([_run("r1"), _run("r2"), _run("r3")])
    assert _shape(steps) == [("r1", 0, 0), ("r2", 1, 0), ("r3", 2, 0)]
    assert not any(step.is_branch for step in steps)


def test_a_branch_follows_the_run_that_it_names_and_continues() -> None:
    runs = [_run("r1"), _run("r2"), _run("r3"), _run("r4", "r1"), _run("r5", "r4")]
    steps = make_tree(runs)
    assert _shape(steps) == [
        ("r1", 0, 0),
        ("r2", 1, 0),
        ("r3", 2, 0),
        ("r4", 1, 1),
        ("r5", 4, 1),
    ]
    assert [step.number for step in steps if step.is_branch] == [4]


def test_a_run_that_was_replaced_is_beside_its_retry() -> None:
    steps = make_tree([_run("r1"), _run("r2", superseded_by="r3"), _run("r3"), _run("r4")])
    assert [(step.run.id, step.parent) for step in steps] == [
        ("r1", 0),
        ("r2", 1),
        ("r3", 1),
        ("r4", 3),
    ]


def test_a_run_that_follows_a_replaced_one_follows_the_one_before_it() -> None:
    steps = make_tree([_run("r1"), _run("r2", superseded_by="r3"), _run("r3"), _run("r4", "r2")])
    assert {step.run.id: step.parent for step in steps}["r4"] == 1


def test_a_thousand_branches_of_branches_need_no_recursion() -> None:
    later = range(1, 1_000)
    runs = [_run("r0000"), *(_run(f"r{at:04}", f"r{max(0, at - 2):04}") for at in later)]
    steps = make_tree(runs)
    assert sorted(step.run.id for step in steps) == [run.id for run in runs]
    seen = {0}
    for step in steps:
        assert step.parent in seen
        seen.add(step.number)
