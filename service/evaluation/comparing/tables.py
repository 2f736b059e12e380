"""The tables of comparisons: with the best member, with a member at equal cost, of ensembles."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from service.evaluation.comparing.opponents import choose_best_members
from service.evaluation.comparing.outcomes import MeetingOutcome, Results
from service.evaluation.questions.question import Question
from service.evaluation.results import Evaluation
from service.evaluation.statistics.comparison import Difference, Tally, measure_differences

TableName = Literal["best_member", "equal_cost", "ensembles"]


@dataclass(frozen=True, slots=True)
class Meeting:
    """One question between two contestants."""

    question: Question
    opponent: str
    outcome: MeetingOutcome


@dataclass(frozen=True, slots=True)
class Comparison:
    """A contestant against others, question by question.

    `opponent` names them for the table: the best member may differ between questions.
    """

    contestant: str
    opponent: str
    meetings: tuple[Meeting, ...]
    tally: Tally
    difference: Difference

    @property
    def lost(self) -> list[Meeting]:
        """The questions that the contestant lost."""
        return [each for each in self.meetings if each.outcome == "loss"]


@dataclass(frozen=True, slots=True)
class ComparisonTable:
    """Comparisons of one kind."""

    name: TableName
    rows: tuple[Comparison, ...]


def compare_contestants(evaluation: Evaluation) -> tuple[ComparisonTable, ...]:
    """Return the tables of an evaluation, complete or not; those without a row are empty.

    The p-values are corrected for the number of all comparisons.
    """
    results = Results(evaluation)
    tables: dict[TableName, list[_Row]] = {
        "best_member": _meet_best_members(results),
        "equal_cost": _meet_equal_costs(results),
        "ensembles": _meet_each_other(results),
    }
    tallies = [_count(meetings) for rows in tables.values() for _, _, meetings in rows]
    differences = iter(zip(tallies, measure_differences(tallies), strict=True))
    return tuple(
        ComparisonTable(name, tuple(Comparison(*row, *next(differences)) for row in rows))
        for name, rows in tables.items()
    )


_Row = tuple[str, str, tuple[Meeting, ...]]


def _meet_best_members(results: Results) -> list[_Row]:
    rows = []
    for ensemble in results.ensembles:
        opponents = choose_best_members(results, ensemble)
        if not opponents:
            continue
        meetings = _meet(results, ensemble.name, opponents)
        names = Counter(each.opponent for each in meetings)
        rows.append((ensemble.name, _name_opponents(names), meetings))
    return rows


def _name_opponents(names: Counter[str]) -> str:
    """Return the name of the only opponent, or all names with their numbers of questions."""
    if len(names) <= 1:
        return next(iter(names), "")
    return ", ".join(f"{name} ({count})" for name, count in names.most_common())


def _meet_equal_costs(results: Results) -> list[_Row]:
    return [
        (each.equal_cost_to, each.name, _meet_always(results, each.equal_cost_to, each.name))
        for each in results.evaluation.contestants
        if each.kind == "equal_cost"
    ]


def _meet_each_other(results: Results) -> list[_Row]:
    names = [each.name for each in results.ensembles]
    return [
        (one, other, _meet_always(results, one, other))
        for at, one in enumerate(names)
        for other in names[at + 1 :]
    ]


def _meet_always(results: Results, contestant: str, opponent: str) -> tuple[Meeting, ...]:
    ids = [each.id for each in results.evaluation.questions]
    return _meet(results, contestant, dict.fromkeys(ids, opponent))


def _meet(results: Results, contestant: str, opponents: Mapping[str, str]) -> tuple[Meeting, ...]:
    """Return the questions that were decided or undecided; `opponents` are by question id."""
    meetings = []
    for question in results.evaluation.questions:
        outcome = results.find_outcome(question, contestant, opponents[question.id])
        if outcome is not None:
            meetings.append(Meeting(question, opponents[question.id], outcome))
    return tuple(meetings)


def _count(meetings: Sequence[Meeting]) -> Tally:
    counts = Counter(each.outcome for each in meetings)
    return Tally(counts["win"], counts["tie"], counts["loss"], counts["undecided"])
