"""The plain measure of agreement."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.strategies.voting.similarity import IN_DOUBT, measure_agreement


def test_one_text_and_equal_texts_agree() -> None:
    assert measure_agreement(["a text"]) == 1.0
    assert measure_agreement(["Some text.", "Some  text.", "Some text."]) == 1.0


def test_other_words_disagree() -> None:
    assert measure_agreement(["Cats sleep all day.", "Rockets need fuel."]) == 0.0


def test_endings_and_frequent_words_do_not_matter() -> None:
    agreement = measure_agreement(["The cats are sleeping.", "A cat sleeps"])
    assert agreement == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("The tower of Pisa is 56 metres high.", "The tower of Pisa is 65 metres high."),
        ("Yes, the tower of Pisa leans.", "No, the tower of Pisa leans."),
    ],
)
def test_contradicting_numbers_and_yes_against_no_are_at_most_in_doubt(
    one: str, other: str
) -> None:
    assert measure_agreement([one, other]) == IN_DOUBT


@given(st.lists(st.text(max_size=200), min_size=1, max_size=4))
def test_the_measure_is_symmetric_and_within_its_range(texts: list[str]) -> None:
    agreement = measure_agreement(texts)
    assert 0.0 <= agreement <= 1.0 + 1e-9
    assert agreement == pytest.approx(measure_agreement(texts[::-1]))
