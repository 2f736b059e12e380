"""The agent of an ensemble that may be dropped, if the evidence suffices.

Two reasons count, and both need a comparison with the other agents, so that of equal agents none is
named. *Unused*: it has a part in significantly fewer answers than half of the others, and without
it at most 15 % of the answers would be other ones. *Slow*: in more than half of the runs the next
step waited half as long again for it alone, it has no part in more answers than another agent, and
its loss is not known to change more answers than that.
"""

from __future__ import annotations

from dataclasses import dataclass

from service.evaluation.agents.tally import AgentTally, EnsembleTally
from service.evaluation.statistics.comparison import Difference, Tally, measure_differences
from service.evaluation.statistics.intervals import Interval, wilson_interval

MOST_CHANGED = 0.15  # of all answers
MOSTLY_LATE = 0.5  # of all runs
LEAST_WAITS = 10
FEW_RUNS = 22  # with none changed, Wilson's interval ends at 15 %


@dataclass(frozen=True, slots=True, kw_only=True)
class PairComparison:
    """The answers in which one agent has a part, and another one has not, or the reverse."""

    agent: str
    other: str
    tally: Tally
    difference: Difference


@dataclass(frozen=True, slots=True)
class ChangedAnswers:
    """The answers that would be, or may be, other ones without an agent: `count` of `known`.

    `unknown` answers are not counted.
    """

    count: int
    known: int
    unknown: int

    @property
    def is_complete(self) -> bool:
        """Whether the effect is known for all answers."""
        return not self.unknown

    @property
    def interval(self) -> Interval:
        """Wilson's interval of the share."""
        return wilson_interval(self.count, self.known)


def count_changed(agent: AgentTally) -> ChangedAnswers:
    """Return the effect of dropping an agent; a tie of votes may change the answer."""
    unknown = agent.changes["unknown"]
    count = agent.changes["changed"] + agent.changes["tie"]
    return ChangedAnswers(count, agent.runs - unknown, unknown)


@dataclass(frozen=True, slots=True)
class DropDecision:
    """The agent to drop, or None; `text` is the reason in one sentence. `runs` are the evidence."""

    agent: str | None
    reasons: tuple[str, ...]
    text: str
    runs: int


def compare_agents(ensemble: EnsembleTally) -> list[PairComparison]:
    """Return the comparison of each agent with each other one, corrected for their number."""
    pairs = [(pair, tally) for pair, tally in sorted(ensemble.pairs.items()) if pair[0] < pair[1]]
    differences = measure_differences([tally for _, tally in pairs])
    return [
        PairComparison(agent=one, other=other, tally=tally, difference=difference)
        for ((one, other), tally), difference in zip(pairs, differences, strict=True)
    ]


def decide(ensemble: EnsembleTally) -> DropDecision:
    """Return which agent of an ensemble may be dropped."""
    agents, runs = ensemble.agents, ensemble.answers
    if len(agents) < 2:
        return DropDecision(None, (), f"There is no agent to compare with (n = {runs}).", runs)
    comparisons = compare_agents(ensemble)
    reasons = {name: tuple(_find_reasons(name, each, comparisons)) for name, each in agents.items()}
    candidates = [name for name, found in reasons.items() if found]
    if not candidates:
        return DropDecision(None, (), _explain(ensemble), runs)
    chosen = min(candidates, key=lambda name: _rank(agents[name]))
    others = [name for name in candidates if name != chosen]
    also = f" The same holds for {', '.join(others)}; drop one at a time." if others else ""
    return DropDecision(chosen, reasons[chosen], _describe(chosen, ensemble, reasons) + also, runs)


def _rank(agent: AgentTally) -> tuple[float, float]:
    """Return the order of candidates: the smallest part first, then the highest cost."""
    return (agent.has_part / agent.runs if agent.runs else 0.0, -agent.cost_usd)


def _find_reasons(name: str, agent: AgentTally, comparisons: list[PairComparison]) -> list[str]:
    verdicts = [_view(each, name) for each in comparisons if name in (each.agent, each.other)]
    found = []
    if "better" in verdicts:
        return []
    changed = count_changed(agent)
    is_worse = 2 * verdicts.count("worse") >= len(verdicts)
    if is_worse and changed.is_complete and changed.interval.high <= MOST_CHANGED:
        found.append("unused")
    late = wilson_interval(agent.late, agent.waits)
    limit = changed.interval.high if changed.is_complete else changed.interval.low
    if agent.waits >= LEAST_WAITS and late.low > MOSTLY_LATE and limit <= MOST_CHANGED:
        found.append("slow")
    return found


def _view(comparison: PairComparison, name: str) -> str:
    verdict = comparison.difference.verdict
    if verdict == "no difference" or comparison.agent == name:
        return verdict
    return "worse" if verdict == "better" else "better"


def _describe(name: str, ensemble: EnsembleTally, reasons: dict[str, tuple[str, ...]]) -> str:
    agent = ensemble.agents[name]
    sentences = []
    if "unused" in reasons[name]:
        changed = count_changed(agent)
        low, high = changed.interval
        sentences.append(
            f"it has a part in {agent.has_part} of {agent.runs} answers, fewer than others, and "
            f"{changed.count} of {changed.known} would be or may be another one without it "
            f"({low:.0%} to {high:.0%})"
        )
    if "slow" in reasons[name]:
        sooner = agent.sooner_ms.find(50)
        low, high = wilson_interval(agent.late, agent.waits)
        sentences.append(
            f"the next step waited half as long again for it alone in {agent.late} of "
            f"{agent.waits} runs ({low:.0%} to {high:.0%}), and would start "
            f"{(sooner.value if sooner else 0) / 1000:.1f} s sooner without it (median)"
        )
        if agent.changes["unknown"]:
            sentences.append("what its answers add is not known")
    failed = f" It failed in {agent.failed} of {agent.calls} calls." if agent.failed else ""
    return f"{name} can be dropped: {'; '.join(sentences)} (n = {ensemble.answers}).{failed}"


def _explain(ensemble: EnsembleTally) -> str:
    """Return why no agent can be dropped."""
    runs = ensemble.answers
    text = f"No agent can be dropped on this evidence (n = {runs})"
    if runs < FEW_RUNS:
        return f"{text}: these are too few answers; {FEW_RUNS} are the least."
    if all(each.changes["unknown"] == each.runs for each in ensemble.agents.values()):
        return f"{text}: what each of them adds is not known."
    return f"{text}."
