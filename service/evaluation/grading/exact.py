"""Grades of answers to questions with a reference that is a word, a name or a phrase."""

from __future__ import annotations

from collections.abc import Iterator

from service.evaluation.grading.sentences import (
    FinalAnswer,
    find_hedge,
    find_words,
    read_final_answer,
    split_words,
)
from service.evaluation.questions.question import ExactReference
from service.evaluation.results import Grade
from service.strategies.voting.final_answer import make_key

_OPPOSITES = {"yes": "no", "no": "yes", "true": "false", "false": "true"}


def grade_exact(text: str, reference: ExactReference) -> Grade:
    """Compare the final answer of a text with the accepted answers.

    Right: it equals one of them, or its last or first sentence names one and neither denies it nor
    leaves it open. Undecided: one is named in another place, or next to such a word.
    """
    final = read_final_answer(text)
    if any(_is_equal(final.text, accepted) for accepted in reference.answers):
        if _names_opposite(final.text, reference):
            return Grade("undecided", "The final answer states both sides.")
        return Grade("right", "The final answer equals the reference.")
    named = [accepted for accepted in reference.answers if not _is_too_short(accepted)]
    grades = list(_grade_sentences(final, named))
    grades.sort(key=lambda grade: grade.name != "right")
    if grades:
        return grades[0]
    if inside := _find_named(text, [*reference.answers] if _is_short_text(text) else named):
        return Grade("undecided", f"The text names {inside!r}, but not as its final answer.")
    return Grade("wrong", "The final answer differs from the reference.")


def _grade_sentences(final: FinalAnswer, named: list[str]) -> Iterator[Grade]:
    for sentence in final.sentences:
        if inside := _find_named(sentence, named):
            # A hedge that is a part of the accepted answer, as in "To be or not to be", is none.
            if hedge := find_hedge(_without(sentence, inside)):
                yield Grade("undecided", f"The answer names {inside!r} beside {hedge!r}.")
            else:
                yield Grade("right", f"The answer names {inside!r}.")


def _is_equal(final: str, accepted: str) -> bool:
    return make_key(final) == make_key(accepted) or split_words(final) == split_words(accepted)


def _names_opposite(final: str, reference: ExactReference) -> bool:
    """Return whether a yes or no is given together with its opposite."""
    words = {word for each in reference.answers for word in split_words(each)}
    opposites = {_OPPOSITES[word] for word in words if word in _OPPOSITES}
    return bool(opposites & set(split_words(final))) and not opposites & words


def _is_too_short(accepted: str) -> bool:
    """Return whether an answer is one letter or yes or no, which sentences contain by chance."""
    words = split_words(accepted)
    return len("".join(words)) <= 1 or set(words) <= set(_OPPOSITES)


def _is_short_text(text: str) -> bool:
    return len(text.split()) <= 12


def _find_named(text: str, accepted: list[str]) -> str:
    words = split_words(text)
    return next((each for each in accepted if find_words(words, split_words(each))), "")


def _without(sentence: str, named: str) -> str:
    """Return the words of a sentence without those of the named answer."""
    words, phrase = split_words(sentence), split_words(named)
    at = next(at for at in range(len(words)) if words[at : at + len(phrase)] == phrase)
    return " ".join(words[:at] + words[at + len(phrase) :])
