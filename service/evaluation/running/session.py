"""One evaluation from its inputs to its results, new or continued."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from service.ensembles.agents import Agent
from service.ensembles.catalog import AGENT_PREFIX
from service.evaluation.judging.judge import Judge
from service.evaluation.panels.entrants import Entrants
from service.evaluation.questions.question import Question, hash_questions
from service.evaluation.results import Evaluation, FrozenInputs
from service.evaluation.running.executor import Executor, ServiceParts
from service.evaluation.running.halt import Halt
from service.evaluation.running.known_results import CACHE_AGE, MAX_CACHED, KnownResults
from service.evaluation.running.money import Money
from service.evaluation.running.progress import OnProgress
from service.evaluation.running.runner import Runner
from service.evaluation.running.state_file import StateError, StateFile
from service.store.budgets.units import NANO_PER_USD
from service.version import VERSION

STATE_FILE: Final = "state.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationPlan:
    """The inputs of an evaluation, and how it is executed. `folder` None: one for these inputs.

    `concurrency` is the number of runs at the same time. `is_fresh`: cached answers are not used.
    `has_equal_cost`: the best members are also asked several times.
    """

    questions: tuple[Question, ...]
    questions_file: str
    entrants: Entrants
    judge: Agent | None
    seed: int = 0
    concurrency: int = 4
    max_cost_usd: float | None = None
    is_fresh: bool = False
    has_equal_cost: bool = True
    folder: Path | None = None

    @property
    def inputs(self) -> Mapping[str, Any]:
        """The inputs that must be the same when an evaluation continues, by name."""
        return {
            "questions": hash_questions(self.questions),
            "ensembles": dict(self.entrants.config_hashes),
            "members": {name: each.config_hash for name, each in self.entrants.members.items()},
            "judge": {self.judge.name: self.judge.config_hash} if self.judge else {},
            "seed": self.seed,
            "equal cost": self.has_equal_cost,
        }

    @property
    def chosen_folder(self) -> Path:
        """The folder of the results: by default one for each combination of inputs."""
        name = f"{Path(self.questions_file).stem}-{_hash(self.inputs)[:8]}"
        return self.folder or Path("evaluations") / name


@dataclass(frozen=True, slots=True)
class SessionResult:
    """The results of an evaluation, and why it stopped; `message` is empty if it is complete."""

    evaluation: Evaluation
    message: str = ""
    unanswered: int = 0


async def run_evaluation(
    plan: EvaluationPlan, parts: ServiceParts, halt: Halt, on_progress: OnProgress
) -> SessionResult:
    """Execute an evaluation, or the rest of one. Raises StateError, StorageUnavailable.

    `halt` stops it: runs that have started are completed, and the results so far returned.
    """
    now = datetime.now(UTC)
    path = plan.chosen_folder / STATE_FILE
    state = StateFile(path, plan.inputs, now.isoformat(timespec="seconds"), restarts=plan.is_fresh)
    try:
        owner = parts.principal.owner
        await parts.cache.tidy(owner, now - CACHE_AGE, MAX_CACHED)
        known = KnownResults(parts.store, parts.cache, state, owner, is_fresh=plan.is_fresh)
        await known.settle_open_starts()
        limit_nano = None if plan.max_cost_usd is None else round(plan.max_cost_usd * NANO_PER_USD)
        money = Money(limit_nano, state.spent_nano)
        executor = Executor(parts, known, halt, money, plan.concurrency)
        judge = Judge(plan.judge, executor) if plan.judge else None
        runner = Runner(
            plan.questions,
            plan.entrants,
            executor,
            judge,
            concurrency=plan.concurrency,
            on_progress=on_progress,
        )
        await runner.run(has_equal_cost=plan.has_equal_cost)
        if not halt:
            _complete(state, halt)
        return _make_outcome(plan, state, runner, executor)
    finally:
        state.close()


def _complete(state: StateFile, halt: Halt) -> None:
    try:
        state.note_completed()
    except StateError as error:
        halt.stop("failed", str(error))


def _make_outcome(
    plan: EvaluationPlan, state: StateFile, runner: Runner, executor: Executor
) -> SessionResult:
    order = {each.id: number for number, each in enumerate(plan.questions)}
    place = {each.name: number for number, each in enumerate(runner.contestants)}
    answers = sorted(
        runner.answers.values(), key=lambda each: (order[each.question_id], place[each.contestant])
    )
    pairs = sorted(
        runner.pairs,
        key=lambda each: (order[each.question_id], place[each.left], place[each.right]),
    )
    judge = plan.judge
    evaluation = Evaluation(
        inputs=FrozenInputs(
            questions_file=plan.questions_file,
            questions_hash=hash_questions(plan.questions),
            ensembles_hash=_hash(plan.entrants.config_hashes),
            version=VERSION,
            seed=plan.seed,
            started_at=state.started_at,
            judge=f"{AGENT_PREFIX}{judge.name}" if judge else "",
            judge_model=judge.model if judge else "",
        ),
        questions=plan.questions,
        contestants=runner.contestants,
        answers=tuple(answers),
        pairs=tuple(pairs),
        spent_usd=executor.money.spent_nano / NANO_PER_USD,
        sent=executor.known.sent,
        reused=executor.known.reused,
        stopped=executor.halt.reason,
        notes=tuple(_list_notes(plan, runner)),
    )
    return SessionResult(evaluation, executor.halt.message, executor.known.unanswered)


def _list_notes(plan: EvaluationPlan, runner: Runner) -> Iterator[str]:
    """Yield the sentences about the execution that a reader of the results needs."""
    yield from (_SHARING[each] for each in _list_strategies(plan) if each in _SHARING)
    yield from (each.note for each in runner.equal_costs)
    failed = Counter(each.contestant for each in runner.answers.values() if each.error)
    yield from (f"{name} has no answer to {count} questions." for name, count in failed.items())


def _list_strategies(plan: EvaluationPlan) -> Sequence[str]:
    return [*dict.fromkeys(each.strategy for each in plan.entrants.ensembles)]


_SHARING: Final[Mapping[str, str]] = {
    "race": "race: the shared answer with the earliest first token wins; all answers are paid.",
    "council": "council: reviews and the chair's answer are made for it; the answers are shared.",
    "layers": "layers: only the first layer is shared; later layers read it and are asked again.",
}


def _hash(value: object) -> str:
    return hashlib.sha256(msgspec.json.encode(value, order="deterministic")).hexdigest()
