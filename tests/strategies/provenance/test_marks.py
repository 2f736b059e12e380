"""Marks in a stream: removed at every split, recorded, and distinguished from the text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.strategies.provenance.marks import MarkFilter, choose_brackets

CASES = {
    "It is blue. ⟦1,3⟧ It scatters. ⟦2⟧": ("It is blue. It scatters.", [(11, (1, 3)), (24, (2,))]),
    "Blue ⟦1⟧.": ("Blue.", [(4, (1,))]),
    "⟦1⟧ Blue": ("Blue", [(0, (1,))]),
    "A\n⟦1⟧ B": ("A\nB", [(2, (1,))]),
    "One. ⟦ 1 , 2 ⟧⟦3⟧\n\nTwo.": ("One.\n\nTwo.", [(4, (1, 2)), (4, (3,))]),
    "No mark ⟦abc⟧ here": ("No mark ⟦abc⟧ here", []),
    "Open ⟦1": ("Open ⟦1", []),
    "Empty ⟦⟧ one": ("Empty ⟦⟧ one", []),
    "Set ⟦x⟦1⟧": ("Set ⟦x", [(6, (1,))]),
    "Long ⟦" + "1," * 400: ("Long ⟦" + "1," * 400, []),
    "End  ": ("End  ", []),
    "Two  spaces   kept": ("Two  spaces   kept", []),
    "": ("", []),
}


def _read(pieces: list[str]) -> tuple[str, MarkFilter]:
    marks = MarkFilter("⟦⟧")
    text = "".join([*(marks.feed(piece) for piece in pieces), marks.finish()])
    assert marks.length == len(text)
    return text, marks


@pytest.mark.parametrize("marked", CASES)
def test_marks_are_removed_and_recorded_at_every_split(marked: str) -> None:
    expected = CASES[marked]
    for pieces in ([marked], list(marked), *([marked[:at], marked[at:]] for at in range(40))):
        text, marks = _read(pieces)
        assert (text, marks.marks) == expected, pieces


def test_a_statement_of_dissent_is_a_mark() -> None:
    text, marks = _read(["It is blue. ⟦1⟧\n⟦dis", "sent 2: It is green, ", "always.⟧"])
    assert text == "It is blue.\n"
    assert marks.dissents == [(2, "It is green, always.")]


_PARTS = st.lists(
    st.text("ab ⟦⟧\n", max_size=6) | st.sampled_from(["⟦1⟧", "⟦2,3⟧", "⟦dissent 1: x⟧"]), max_size=8
)


@given(_PARTS, st.data())
def test_the_result_does_not_depend_on_the_split(parts: list[str], data: st.DataObject) -> None:
    marked = "".join(parts)
    whole, marks = _read([marked])
    cuts = sorted(data.draw(st.sets(st.integers(0, len(marked)))))
    pieces = [marked[a:b] for a, b in zip([0, *cuts], [*cuts, len(marked)], strict=True)]
    text, again = _read(pieces)
    assert (text, again.marks, again.dissents) == (whole, marks.marks, marks.dissents)


@given(st.text())
def test_a_text_without_brackets_is_unchanged(text: str) -> None:
    if "⟦" not in text:
        assert _read([text])[0] == text


def test_text_that_cannot_be_a_mark_is_not_held_back() -> None:
    marks = MarkFilter("⟦⟧")
    assert marks.feed("See ⟦the") == "See ⟦the"
    assert marks.feed(" ⟦1") == ""


def test_brackets_that_a_text_contains_are_not_used() -> None:
    assert choose_brackets(["plain"]) == "⟦⟧"
    assert choose_brackets(["a ⟧", "b"]) == "⟪⟫"
