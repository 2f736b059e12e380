"""The sentences that explain the tables of a report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from service.evaluation.comparing.tables import TableName
from service.evaluation.results import StopReason

STOPS: Final[Mapping[StopReason, str]] = {
    "interrupted": "The evaluation was interrupted; these are the results so far.",
    "budget": "The evaluation stopped at its budget; these are the results so far.",
    "failed": "The evaluation stopped at a failure; these are the results so far.",
}
TITLES: Final[Mapping[TableName, str]] = {
    "best_member": "Against the best member",
    "equal_cost": "Against the same member at equal cost",
    "ensembles": "Ensembles among each other",
}
COMPARISONS: Final[Mapping[TableName, str]] = {
    "best_member": (
        "The best member is chosen on other questions than those on which it is the opponent "
        "(five parts), because the luckiest member of the same questions would look too good. "
        "In brackets: the questions on which a member was the opponent."
    ),
    "equal_cost": (
        "The same money, spent on one member that is asked several times; the answer that most "
        "of its replies give counts."
    ),
    "ensembles": "The first ensemble of a row against the second.",
}
ANSWERS: Final = (
    "Right: of the questions with an exact, numeric or JSON reference, with Wilson's 95 % "
    "interval; undecided and missing answers are not right. Cost and tokens: means per question. "
    "Times: median / 95th percentile."
)
BIASES: Final = (
    "An interval that excludes 50 % is a sign of a bias, and no proof: longer answers, and "
    "those of one family, may be better."
)
VERDICTS: Final = (
    "A difference is called better or worse only if its interval (Tango) excludes 0 and the exact "
    "test (McNemar) is below 0.05 after Holm's correction for all comparisons of this report. "
    "Everything else is no difference."
)
