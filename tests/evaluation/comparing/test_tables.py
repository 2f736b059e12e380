"""The choice of the best member, and the tables of comparisons."""

from __future__ import annotations

from dataclasses import replace

from service.evaluation.comparing.opponents import choose_best_members
from service.evaluation.comparing.outcomes import Results
from service.evaluation.comparing.tables import compare_contestants
from service.evaluation.questions.question import NumericReference, Question
from service.evaluation.results import Contestant, Evaluation
from tests._support.evaluation.mock_evaluations import MockEnsemble, evaluate_mock

_SUMS = [
    Question(id=f"q{n}", text=f"What is {n} + {n}?", reference=NumericReference(2.0 * n))
    for n in range(1, 41)
]


def _evaluate(*ensembles: MockEnsemble, seed: int = 0) -> Evaluation:
    return evaluate_mock(_SUMS, ensembles, seed)


def test_a_clearly_best_member_is_the_opponent_on_every_question() -> None:
    evaluation = _evaluate(MockEnsemble("e", ["a?skill=0.3", "b?skill=0.9", "c?skill=0.3"]))
    (row,) = compare_contestants(evaluation)[0].rows
    assert row.opponent == "agent/b?skill=0.9"
    assert len(row.meetings) == 40


def test_the_opponent_of_a_question_does_not_depend_on_its_own_answers() -> None:
    evaluation = _evaluate(MockEnsemble("e", ["a?skill=0.5", "b?skill=0.5"]))
    ensemble = evaluation.contestants[-1]
    chosen = choose_best_members(Results(evaluation), ensemble)
    assert set(chosen) == {each.id for each in _SUMS}
    for question in _SUMS[:10]:
        others = [each for each in evaluation.answers if each.question_id != question.id]
        without = replace(evaluation, answers=tuple(others))
        assert choose_best_members(Results(without), ensemble)[question.id] == chosen[question.id]


def test_equal_members_do_not_make_an_equal_ensemble_look_worse() -> None:
    """The best of eight on the same questions would win against it by luck."""
    members = [f"{letter}?skill=0.5" for letter in "abcdefgh"]
    differences = []
    for seed in range(12):
        evaluation = _evaluate(MockEnsemble("e", members, "own?skill=0.5"), seed=seed)
        (row,) = compare_contestants(evaluation)[0].rows
        differences.append(row.difference.value)
    assert abs(sum(differences) / len(differences)) < 0.08


def test_an_ensemble_that_repeats_its_only_member_ties_on_every_question() -> None:
    evaluation = _evaluate(MockEnsemble("solo", ["a?skill=0.5"]))
    (row,) = compare_contestants(evaluation)[0].rows
    assert (row.tally.ties, row.tally.decided) == (40, 40)
    assert row.difference.verdict == "no difference"


def test_ensembles_meet_each_other_and_their_member_at_equal_cost() -> None:
    ensembles = [MockEnsemble(name, ["a?skill=1"], f"{name}?skill=0") for name in "xyz"]
    evaluation = _evaluate(*ensembles)
    equal = Contestant(
        name="agent/a x2 for x", kind="equal_cost", members=("agent/a",), equal_cost_to="x"
    )
    copied = [
        replace(each, contestant=equal.name)
        for each in evaluation.answers
        if each.contestant == "agent/a?skill=1"
    ]
    evaluation = replace(
        evaluation,
        contestants=(*evaluation.contestants, equal),
        answers=(*evaluation.answers, *copied),
    )
    best_member, equal_cost, each_other = compare_contestants(evaluation)
    assert [row.difference.verdict for row in best_member.rows] == ["worse"] * 3
    assert [(row.contestant, row.opponent) for row in equal_cost.rows] == [("x", equal.name)]
    assert equal_cost.rows[0].tally.losses == 40
    pairs = [(row.contestant, row.opponent) for row in each_other.rows]
    assert pairs == [("x", "y"), ("x", "z"), ("y", "z")]


def test_an_evaluation_that_stopped_early_compares_what_it_has() -> None:
    evaluation = _evaluate(MockEnsemble("e", ["a?skill=0.5", "b?skill=0.5"]))
    first = replace(evaluation, answers=evaluation.answers[:7])
    (row,) = compare_contestants(first)[0].rows
    assert row.tally.decided == 2
    nothing = replace(evaluation, answers=())
    assert compare_contestants(nothing)[0].rows[0].tally.decided == 0


def test_lost_questions_are_listed_with_their_opponent() -> None:
    evaluation = _evaluate(MockEnsemble("e", ["a?skill=1"], "x?skill=0.5"))
    (row,) = compare_contestants(evaluation)[0].rows
    assert len(row.lost) == row.tally.losses > 0
    assert {each.opponent for each in row.lost} == {"agent/a?skill=1"}
