"""The results of an evaluation: contestants, their answers with grades, and the judge's verdicts.

Only data: the execution fills an `Evaluation`, complete or not, and the reports read it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from service.evaluation.questions.question import Question

GradeName = Literal["right", "wrong", "undecided"]
ContestantKind = Literal["ensemble", "member", "equal_cost"]
PairVerdict = Literal["left", "right", "tie", "undecided"]
StopReason = Literal["interrupted", "budget", "failed"]


@dataclass(frozen=True, slots=True)
class Grade:
    """The comparison of an answer with its reference, and the reason in a sentence."""

    name: GradeName
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """One way to answer the questions.

    An `ensemble` has its `members`, which are contestants, too, named `agent/NAME`. An `equal_cost`
    contestant is one member that is asked several times, at about the cost of the ensemble
    `equal_cost_to`.
    """

    name: str
    kind: ContestantKind
    members: tuple[str, ...] = ()
    equal_cost_to: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenAnswer:
    """The answer of one contestant to one question.

    `run_id` is the stored run. `model` wrote the text. Cost and tokens are those of the complete
    strategy, also for the parts that it shares with others; times are those that a user would
    have waited. `grade` is None for questions that a judge compares. A contestant without an answer
    has the `error`'s sentence, and an empty text.
    """

    question_id: str
    contestant: str
    run_id: str
    text: str
    model: str = ""
    grade: Grade | None = None
    cost_usd: float | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    first_token_ms: float | None = None
    total_ms: float | None = None
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedPair:
    """The judge's two verdicts on the answers `left` and `right` of two contestants.

    `verdicts`: with the left answer shown first, then with the right one first; both are named
    from this pair's view, not by position. A judge that gives no usable verdict twice is
    `undecided`. `repeated` counts the calls that were sent again after nonsense.
    """

    question_id: str
    left: str
    right: str
    verdicts: tuple[PairVerdict, PairVerdict]
    repeated: int = 0
    run_ids: tuple[str, ...] = ()
    reason: str = ""

    @property
    def outcome(self) -> PairVerdict:
        """The verdict in which both orders agree; a tie where they differ."""
        first, second = self.verdicts
        if "undecided" in self.verdicts:
            return "undecided"
        return first if first == second else "tie"


@dataclass(frozen=True, slots=True, kw_only=True)
class FrozenInputs:
    """Everything that an evaluation depends on. Hashes are SHA-256 in hexadecimal digits."""

    questions_file: str
    questions_hash: str
    ensembles_hash: str
    version: str
    seed: int
    started_at: str  # ISO 8601
    judge: str = ""  # the contestant-like name, such as agent/judge; empty for none
    judge_model: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """An evaluation, complete, or as far as it came before it `stopped`.

    `spent_usd` is the cost of the requests that this evaluation sent; None without any price.
    `sent` counts these requests, `reused` those that the cache answered. `notes` are sentences for
    the report, such as which calls the strategies could not share.
    """

    inputs: FrozenInputs
    questions: tuple[Question, ...]
    contestants: tuple[Contestant, ...]
    answers: tuple[GivenAnswer, ...] = ()
    pairs: tuple[JudgedPair, ...] = ()
    spent_usd: float | None = None
    sent: int = 0
    reused: int = 0
    stopped: StopReason | None = None
    notes: tuple[str, ...] = ()
