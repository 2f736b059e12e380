"""Branches of a conversation: the runs that lead to one, and those beside it."""

from __future__ import annotations

from service.pages.chat.lineage import (
    Alternatives,
    find_alternatives,
    find_newest,
    list_lineage,
)

# b and c follow a, e replaces b, f continues e; g, behind "Z", is at the start like a.
LINKS = [("a", ""), ("b", ""), ("c", ""), ("e", "a"), ("f", ""), ("g", "Z")]


def test_a_run_without_a_link_follows_the_one_before_it() -> None:
    assert list_lineage(LINKS, "c") == ["a", "b", "c"]


def test_a_branch_has_the_runs_up_to_the_one_it_follows() -> None:
    assert list_lineage(LINKS, "f") == ["a", "e", "f"]


def test_a_branch_before_all_runs_has_no_earlier_ones() -> None:
    assert list_lineage(LINKS, "g") == ["g"]


def test_an_unknown_run_has_no_lineage() -> None:
    assert list_lineage(LINKS, "x") == []
    assert find_newest(LINKS, "x") == ""


def test_a_run_leads_to_the_newest_of_its_branch() -> None:
    assert find_newest(LINKS, "b") == "c"
    assert find_newest(LINKS, "e") == "f"
    assert find_newest(LINKS, "a") == "f"


def test_runs_that_follow_the_same_one_are_alternatives() -> None:
    assert find_alternatives(LINKS, "b") == Alternatives(1, 2, None, "e")
    assert find_alternatives(LINKS, "e") == Alternatives(2, 2, "b", None)
    assert find_alternatives(LINKS, "a") == Alternatives(1, 2, None, "g")
    assert find_alternatives(LINKS, "c") is None


def test_a_run_that_follows_a_superseded_one_follows_the_one_before() -> None:
    assert list_lineage([("a", ""), ("c", "b")], "c") == ["a", "c"]
