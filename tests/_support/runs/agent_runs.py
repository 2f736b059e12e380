"""Ended runs of ensembles whose agents have known skills, as the statistics of agents read them."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from service.store.agents.records import (
    AgentOutcome,
    CallReport,
    EnsembleConfig,
    RunFindings,
    RunOutcome,
    RunPart,
    RunRank,
    RunVote,
    RunVotes,
)
from service.store.feedback.records import Rating


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedAgent:
    """An agent that is right with the probability `skill`, fails with `failing`, and needs time.

    Wrong answers are one of `wrong_answers` ones. The time has a normal distribution.
    """

    skill: float = 0.8
    failing: float = 0.0
    seconds: float = 2.0
    wrong_answers: int = 12


def make_outcome(agent: str, state: str = "answered", **report: Any) -> AgentOutcome:
    """Return a result that cost 0.001 US dollars and took a second, unless `report` differs."""
    values = {"model": "m", "cost": 0.001, "elapsed_ms": 1000.0, "retries": 0, "hedges": 0}
    code = None if state == "answered" else "upstream_failed"
    return AgentOutcome(agent, state, code, CallReport(**{**values, **report}), state == "answered")


def make_run_outcome(
    strategy: str,
    agents: Sequence[AgentOutcome],
    findings: RunFindings | None = None,
    *,
    members: Sequence[str] | None = None,
    state: str = "completed",
    ratings: Sequence[Rating] = (),
    answered_by: str | None = None,
    is_replaced: bool = False,
) -> RunOutcome:
    """Return an ended run; the members of its ensemble are by default all agents."""
    names = members if members is not None else [each.agent for each in agents]
    config = EnsembleConfig(strategy, tuple(EnsembleConfig.Member(name) for name in names))
    return RunOutcome(
        run_id="run",
        ensemble=strategy,
        config=config,
        state=state,
        is_replaced=is_replaced,
        answered_by=answered_by,
        cost_usd=0.001 * len(agents),
        findings=findings or RunFindings(),
        agents=agents,
        ratings=ratings,
    )


def simulate_run(
    strategy: str, agents: Mapping[str, SimulatedAgent], chance: random.Random
) -> RunOutcome:
    """Return a run in which each agent is right or wrong, or fails, by its probabilities.

    A vote is decided by the largest group, `best_of` by a judge that prefers right answers, and a
    combined answer rests on all right answers, or else on all.
    """
    outcomes, answers = [], {}
    for name, agent in agents.items():
        is_failed = chance.random() < agent.failing
        elapsed_ms = 1000 * max(0.1, chance.gauss(agent.seconds, agent.seconds / 5))
        outcomes.append(
            make_outcome(name, "failed" if is_failed else "answered", elapsed_ms=elapsed_ms)
        )
        if not is_failed:
            is_right = chance.random() < agent.skill
            answers[name] = 0 if is_right else chance.randint(1, agent.wrong_answers)
    findings = _make_findings(strategy, answers, chance) if answers else RunFindings()
    state = "completed" if answers else "failed"
    return make_run_outcome(strategy, outcomes, findings, members=[*agents], state=state)


def _make_findings(strategy: str, answers: Mapping[str, int], chance: random.Random) -> RunFindings:
    if strategy == "vote":
        groups: dict[int, list[str]] = {}
        for name, answer in answers.items():
            groups.setdefault(answer, []).append(name)
        ordered = sorted(groups.values(), key=lambda group: -len(group))
        return RunFindings(votes=RunVotes(tuple(RunVote(tuple(each)) for each in ordered)))
    if strategy == "best_of":
        order = sorted(answers, key=lambda name: (answers[name] > 0, chance.random()))
        return RunFindings(ranking=tuple(RunRank(name, 5.0) for name in order))
    if strategy == "synthesize":
        right = [name for name, answer in answers.items() if answer == 0] or [*answers]
        parts = [
            RunPart(
                100 * number, 100 * (number + 1), tuple(chance.sample(right, min(2, len(right))))
            )
            for number in range(3)
        ]
        return RunFindings(provenance=tuple(parts))
    return RunFindings()
