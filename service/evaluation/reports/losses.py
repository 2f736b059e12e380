"""The questions that contestants lost or tied, with both answers and their runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from service.evaluation.comparing.outcomes import Results
from service.evaluation.comparing.tables import (
    Comparison,
    ComparisonTable,
    Meeting,
    TableName,
)
from service.evaluation.reports.figures import UNKNOWN
from service.evaluation.reports.plain_text import flatten
from service.evaluation.reports.verdicts import OPPONENTS
from service.evaluation.results import Evaluation

MOST_LISTED = 20
_MOST_TIES = 200
_CHARS = 120


class LossSection(NamedTuple):
    """The fields of a section, in their order."""

    title: str
    sentences: tuple[str, ...]
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def make_loss_sections(
    evaluation: Evaluation, tables: Sequence[ComparisonTable]
) -> Iterator[LossSection]:
    """Yield a section for each comparison with members: losses, undecided questions, ties."""
    results = Results(evaluation)
    for table in tables:
        if table.name in OPPONENTS:
            yield from (_make_section(results, table.name, row) for row in table.rows)


def _make_section(results: Results, table: TableName, row: Comparison) -> LossSection:
    undecided = [each for each in row.meetings if each.outcome == "undecided"]
    listed = [*row.lost, *undecided]
    ties = [each.question.id for each in row.meetings if each.outcome == "tie"]
    sentences = [] if row.lost else ["It lost no question."]
    if ties:
        more = f" and {len(ties) - _MOST_TIES} more" if len(ties) > _MOST_TIES else ""
        sentences.append(f"Ties: {', '.join(ties[:_MOST_TIES])}{more}.")
    if len(listed) > MOST_LISTED:
        sentences.append(f"{len(listed) - MOST_LISTED} more questions are in the JSON report.")
    return LossSection(
        f"Losses and ties of {row.contestant} against {OPPONENTS[table]}",
        tuple(sentences),
        ("outcome", "question", f"answer of {row.contestant}", "answer of the opponent", "runs"),
        tuple(_make_row(results, row, each) for each in listed[:MOST_LISTED]),
    )


def _make_row(results: Results, row: Comparison, meeting: Meeting) -> tuple[str, ...]:
    answers = [
        results.find_answer(name, meeting.question) for name in (row.contestant, meeting.opponent)
    ]
    texts = [_shorten(each.error or each.text) if each else UNKNOWN for each in answers]
    runs = ", ".join(each.run_id for each in answers if each and each.run_id)
    question = f"{meeting.question.id}: {flatten(meeting.question.text, _CHARS)}"
    return (meeting.outcome, question, *texts, runs or UNKNOWN)


def _shorten(text: str) -> str:
    """Return the end of a long text, where final answers are."""
    line = flatten(text[-8 * _CHARS :])
    return line if len(line) <= _CHARS else f"…{line[1 - _CHARS :].lstrip()}"
