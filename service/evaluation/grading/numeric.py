"""Grades of answers to questions with a number as reference."""

from __future__ import annotations

import re
from fractions import Fraction

from service.evaluation.grading.sentences import find_hedge, read_final_answer
from service.evaluation.questions.question import NumericReference
from service.evaluation.results import Grade
from service.strategies.voting.numbers import find_numbers, read_number

_ROUNDING = Fraction(1, 10**9)  # of the reference itself, which is stored as a float
_TENS = re.compile(r"\b[a-z]+ty[- ][a-z]+\b", re.I)
_WORD = re.compile(r"\b[a-z]+\b", re.I)
_HUNDREDS = re.compile(r"\b(a|\d+) hundred(?: and)?(?: (\d+))?\b", re.I)


def grade_numeric(text: str, reference: NumericReference) -> Grade:
    """Compare the number of the final answer with the reference; units are not compared.

    Of several numbers in a sentence, the one after the last equals sign counts, or the last one if
    it is right. Undecided: the reference is among several numbers, but is not the last.
    """
    final = read_final_answer(text)
    single = read_number(final.text.strip())
    if single is not None:
        return _compare(single[0], reference)
    grades = [_grade_sentence(sentence, reference) for sentence in final.sentences]
    found = [grade for grade in grades if grade is not None]
    order = {"right": 0, "undecided": 1, "wrong": 2}
    if found:
        return min(found, key=lambda grade: order[grade.name])
    if any(_is_close(each, reference) for each in _read_numbers(text)):
        return Grade("undecided", "The text has the number, but not in its final answer.")
    return Grade("wrong", "The final answer has no number.")


def _grade_sentence(sentence: str, reference: NumericReference) -> Grade | None:
    """Return the grade of a sentence; None if it has no number."""
    _, equals, result = sentence.rpartition("=")
    numbers = _read_numbers(result if equals else sentence)
    if not numbers:
        return None
    if not _is_close(numbers[-1], reference):
        if any(_is_close(each, reference) for each in numbers):
            return Grade("undecided", "The number is one of several in the final answer.")
        return _compare(numbers[-1], reference)
    if hedge := find_hedge(sentence):
        return Grade("undecided", f"The final answer has the number beside {hedge!r}.")
    return _compare(numbers[-1], reference)


def _read_numbers(text: str) -> list[Fraction]:
    """Return the numbers of a text; those in words count where none is written in digits."""
    return find_numbers(text) or find_numbers(_HUNDREDS.sub(_add_hundreds, _write_digits(text)))


def _add_hundreds(found: re.Match[str]) -> str:
    count = 1 if found[1].lower() == "a" else int(found[1])
    return str(100 * count + int(found[2] or 0))


def _write_digits(text: str) -> str:
    """Return a text with the numbers up to ninety-nine in digits."""

    def replace(found: re.Match[str]) -> str:
        number = read_number(found[0])
        return found[0] if number is None else str(number[0])

    return _WORD.sub(replace, _TENS.sub(replace, text))


def _compare(number: Fraction, reference: NumericReference) -> Grade:
    if _is_close(number, reference):
        return Grade("right", "The number equals the reference.")
    return Grade("wrong", f"The number {_write(number)} is not {reference.value:g}.")


def _is_close(number: Fraction, reference: NumericReference) -> bool:
    value = Fraction(reference.value)
    largest: Fraction = max(abs(value), Fraction(1))
    return abs(number - value) <= Fraction(reference.tolerance) + largest * _ROUNDING


def _write(number: Fraction) -> str:
    try:
        return f"{float(number):g}"
    except OverflowError:
        return "found"
