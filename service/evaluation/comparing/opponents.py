"""The best member of an ensemble, chosen on other questions than those of the comparison.

A member that is chosen as the best on the same questions has also had the most luck on them, and
an ensemble would look worse than it is. So the questions are divided into parts, and on each part
the opponent is the member with the most points on all other parts (cross-validation).
"""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

from service.evaluation.comparing.outcomes import Results
from service.evaluation.results import Contestant

PARTS = 5


def choose_best_members(results: Results, ensemble: Contestant) -> Mapping[str, str]:
    """Return the name of the ensemble's opponent by question id; empty without members.

    The seed of the evaluation divides the questions. Of equal members the first is chosen.
    """
    evaluation = results.evaluation
    questions = list(evaluation.questions)
    Random(f"parts {evaluation.inputs.seed}").shuffle(questions)  # noqa: S311
    opponents: dict[str, str] = {}
    members = list(dict.fromkeys(ensemble.members))
    for part in range(PARTS) if members else ():
        own = questions[part::PARTS]
        ids = {each.id for each in own}
        others = [each for each in questions if each.id not in ids]
        points = results.count_points(members, others)
        best = max(members, key=lambda name: points[name])
        opponents |= dict.fromkeys(ids, best)
    return opponents
