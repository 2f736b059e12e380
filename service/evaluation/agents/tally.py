"""Sums over runs: of each agent of an ensemble, and of pairs of its agents. Bounded memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import permutations

from service.evaluation.agents.parts import AgentPart, find_basis, find_parts
from service.evaluation.agents.sketch import PercentileSketch
from service.evaluation.statistics.comparison import Tally
from service.events.findings import RACE_LOST
from service.store.agents.records import AgentOutcome, RunOutcome
from service.store.feedback.records import FeedbackSums, Rating

_AT_ONCE = frozenset({"synthesize", "vote", "best_of", "council"})  # all agents are called at once
_MUCH_LATER = 1.5  # times the wait for the other agents
_LEAST_LATE_MS = 100  # a shorter wait is not noticed
_MAX_MODELS = 5
_MAX_CODES = 50
OTHER_CODES = "other"


@dataclass(slots=True)
class AgentTally:
    """The sums of one agent of an ensemble.

    `calls` are its results that are not reused from an earlier run. `parts` counts by what the
    answer without it would be; `waits` are the runs in which it and another agent were waited for,
    `late` those in which it alone delayed the next step by half or more. Times are in ms.
    """

    calls: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    retries: int = 0
    hedges: int = 0
    uncounted: int = 0  # calls whose retries and hedges are not known
    first_token_ms: PercentileSketch = field(default_factory=PercentileSketch)
    elapsed_ms: PercentileSketch = field(default_factory=PercentileSketch)
    cost_usd: float = 0.0
    wasted_usd: float = 0.0
    unpriced: int = 0
    models: Counter[str] = field(default_factory=Counter)
    runs: int = 0  # with an answer of the ensemble
    has_part: int = 0
    changes: Counter[str] = field(default_factory=Counter)
    chars: int = 0
    alone_chars: int = 0
    ranked: int = 0
    ranked_first: int = 0
    scores: float = 0.0
    waits: int = 0
    late: int = 0
    sooner_ms: PercentileSketch = field(default_factory=PercentileSketch)
    feedback: FeedbackSums = field(default_factory=FeedbackSums)

    @property
    def failed(self) -> int:
        """The calls without a complete answer."""
        return self.failures.total()

    def add_call(self, outcome: AgentOutcome, *, has_answer: bool) -> None:
        """Add a result that was not reused; `has_answer`: the run has one."""
        report = outcome.report
        self.calls += 1
        _count(self.models, report.model, _MAX_MODELS)
        if not outcome.answered and outcome.code != RACE_LOST:
            _count(self.failures, outcome.code or outcome.state, _MAX_CODES)
        self.retries += report.retries or 0
        self.hedges += report.hedges or 0
        self.uncounted += report.retries is None
        if report.first_token_ms is not None:
            self.first_token_ms.add(report.first_token_ms)
        self.elapsed_ms.add(report.elapsed_ms)
        self.unpriced += report.cost is None
        self.cost_usd += report.cost or 0.0
        self.wasted_usd += 0.0 if outcome.answered and has_answer else report.cost or 0.0

    def add_part(self, part: AgentPart) -> None:
        """Add the part in one answer."""
        self.runs += 1
        self.has_part += part.has_part
        self.changes[part.change] += 1
        self.chars += part.chars
        self.alone_chars += part.alone_chars


def _count(counter: Counter[str], name: str, most: int) -> None:
    """Count a name that comes from servers: above a number of names the others are one."""
    counter[name if name in counter or len(counter) < most else OTHER_CODES] += 1


@dataclass(slots=True)
class EnsembleTally:
    """The sums of one ensemble. `bases` counts answers by the finding that shows agents' parts."""

    name: str
    strategies: Counter[str] = field(default_factory=Counter)
    runs: int = 0
    failed_runs: int = 0
    answers: int = 0  # complete and not replaced
    provenance_chars: int = 0
    cost_usd: float = 0.0
    bases: Counter[str] = field(default_factory=Counter)
    agents: dict[str, AgentTally] = field(default_factory=dict)
    roles: dict[str, AgentTally] = field(default_factory=dict)  # combiner, judge, reviewers
    pairs: dict[tuple[str, str], Tally] = field(default_factory=dict)
    feedback: FeedbackSums = field(default_factory=FeedbackSums)

    def add(self, run: RunOutcome) -> None:
        """Add an ended run."""
        has_answer = run.state == "completed"
        self.strategies[run.config.strategy] += 1
        self.runs += 1
        self.failed_runs += not has_answer
        self.cost_usd += run.cost_usd or 0.0
        for outcome in run.agents:
            if not outcome.report.reused:
                self._get(run, outcome.agent).add_call(outcome, has_answer=has_answer)
        for rating in run.ratings:
            self._add_rating(run, rating)
        if has_answer and not run.is_replaced:
            self._add_answer(run)

    def _get(self, run: RunOutcome, name: str) -> AgentTally:
        group = self.agents if name in run.config.members else self.roles
        return group.setdefault(name, AgentTally())

    def _add_rating(self, run: RunOutcome, rating: Rating) -> None:
        target = self._get(run, rating.agent).feedback if rating.agent else self.feedback
        target.add(rating)
        if rating.better:
            self._get(run, rating.better).feedback.preferred += 1
            self.feedback.preferred += rating.than is None

    def _add_answer(self, run: RunOutcome) -> None:
        parts = find_parts(run)
        self.answers += 1
        self.bases[find_basis(run)] += 1
        self.provenance_chars += sum(
            each.end - each.start for each in run.findings.provenance or () if each.agents
        )
        for name, part in parts.items():
            self._get(run, name).add_part(part)
        for one, other in permutations(parts, 2):
            tally = self.pairs.get((one, other), Tally())
            self.pairs[one, other] = _add_pair(tally, parts[one].has_part, parts[other].has_part)
        for rank, each in enumerate(run.findings.ranking or ()):
            if each.agent in run.config.members:
                agent = self._get(run, each.agent)
                agent.ranked += 1
                agent.ranked_first += rank == 0
                agent.scores += each.score
        self._add_waits(run)

    def _add_waits(self, run: RunOutcome) -> None:
        """Add how much sooner the next step had started without each agent."""
        ends = dict(_list_ends(run)) if run.config.strategy in _AT_ONCE else {}
        if len(ends) < 2:
            return
        for name, end_ms in ends.items():
            others_ms = max(other_ms for other, other_ms in ends.items() if other != name)
            agent = self._get(run, name)
            agent.waits += 1
            agent.late += end_ms >= max(_MUCH_LATER * others_ms, others_ms + _LEAST_LATE_MS)
            agent.sooner_ms.add(max(0.0, end_ms - others_ms))


def _add_pair(tally: Tally, one: bool, other: bool) -> Tally:
    return Tally(
        tally.wins + (one and not other),
        tally.ties + (one == other),
        tally.losses + (other and not one),
    )


def _list_ends(run: RunOutcome) -> Iterator[tuple[str, float]]:
    """Yield when each called member ended, in ms after the common start."""
    for each in run.agents:
        if each.agent in run.config.members and not each.report.reused:
            yield each.agent, each.report.elapsed_ms


Tallies = Mapping[str, EnsembleTally]


def add_run(tallies: dict[str, EnsembleTally], run: RunOutcome) -> None:
    """Add an ended run to the sums of its ensemble."""
    tallies.setdefault(run.ensemble, EnsembleTally(run.ensemble)).add(run)
