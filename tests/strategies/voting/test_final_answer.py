"""Final answers in texts, and the keys under which they are equal."""

from __future__ import annotations

import pytest

from service.strategies.voting.final_answer import find_final_answer, is_short, make_key


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Paris", "Paris"),
        ("  **Paris.** \n", "Paris"),
        ("The answer is Paris.", "Paris"),
        ("Let me think.\nIt has 12 sides.\n\nAnswer: 12", "12"),
        ("Step 1: 3 + 4 = 7.\n**Final answer:** 7", "7"),
        ("Some steps.\n\n### Final Answer\n\n$\\boxed{\\frac{1}{2}}$", r"\frac{1}{2}"),
        (r"We get \boxed{x = {1}} and then \boxed{42}.", "42"),
        ("First thoughts.\nSecond thoughts.\n42", "42"),
        ("So the answer is: `B`", "B"),
        ("The answer is 3. But wait, I made a mistake.\nThe answer is 4.", "4"),
        ('```json\n{"a": 1}\n```', '```json\n{"a": 1}\n```'),
    ],
)
def test_the_final_answer_is_found(text: str, answer: str) -> None:
    assert find_final_answer(text) == answer


EQUAL = [
    ("Paris", "paris."),
    ("The Eiffel Tower", "eiffel tower"),
    ("“An apple”", "apple"),
    ("1,234", "1234"),
    ("1 234,50", "1234.5"),
    ("1.234.567", "1,234,567"),
    ("42", "42.0"),
    ("forty-two", "42"),
    ("50%", "50 percent"),
    ("$5", "5 dollars"),
    ("1.5 million", "1,500,000"),
    ("1e3", "1000"),
    ("-3", "−3"),
    (r"\frac{1}{2}", "0.5"),
    ("½", "1/2"),
    ("about 12 km", "12 km"),
    ("12km", "12 KM"),
    ("B", "(b)"),
    ("B) Paris", "b."),
    ("Yes, it does.", "yes"),
    ("True", "yes"),
    (r"$\text{Paris}$", "Paris"),
    ('{"a": 1, "b": "X"}', '{"b": "x.", "a": 1.0}'),
    ('```json\n{"a": [1, "2"]}\n```', '{"A": ["1", 2]}'),
]


@pytest.mark.parametrize(("one", "other"), EQUAL)
def test_equal_answers_have_equal_keys(one: str, other: str) -> None:
    assert make_key(one) == make_key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Paris", "London"),
        ("42", "43"),
        ("42", "-42"),
        ("1.234", "1,234"),
        ("5 km", "5 miles"),
        ("50%", "0.5"),
        ("yes", "no"),
        ("A", "B"),
        ("C", "C++"),
        ("C", "C#"),
        ("not Paris", "Paris"),
        ('{"a": 1}', '{"a": 2}'),
        ('{"a": 1}', '{"a": 1, "b": 2}'),
        ("[1, 2]", "[2, 1]"),
        ('{"a": null}', '{"a": "none"}'),
        ('{"a": true}', '{"a": "true"}'),
        ("3 blind mice", "3 small dogs"),
        ("10 to 12", "1012"),
    ],
)
def test_different_answers_have_different_keys(one: str, other: str) -> None:
    assert make_key(one) != make_key(other)


def test_a_long_text_is_not_short_and_json_always_is() -> None:
    assert is_short("42")
    assert not is_short("word " * 100)
    assert is_short('{"a": "' + "word " * 100 + '"}')
