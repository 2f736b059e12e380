"""Strategies over the answers of a panel: what each shares, and what it calls itself.

All agents of the first layer answer once, alone, and every strategy receives the same bytes. Only
calls that depend on answers are made again: those of combiners, judges, reviewers and chairs, and
of the later layers of `layers`. `solo` and `race` make none: their answer is that of one agent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from service.domain import AgentReport
from service.ensembles.agents import Agent, hash_configuration
from service.ensembles.catalog import Ensemble
from service.evaluation.panels.run_result import RunResult

_DIRECT = ("solo", "race")


@dataclass(frozen=True, slots=True)
class SharedAnswers:
    """The results of the first agents of an ensemble, in its order, for one question."""

    ensemble: Ensemble
    results: Mapping[str, RunResult]  # by the agent's name

    @property
    def answered(self) -> tuple[Agent, ...]:
        """The agents with an answer."""
        first = self.ensemble.layers[0]
        return tuple(each for each in first if self.results[each.name].is_answered)

    @property
    def shortage(self) -> str:
        """The reason why the ensemble has too few answers; empty if it has enough."""
        first = self.ensemble.layers[0]
        needed, found = min(self.ensemble.min_answers, len(first)), len(self.answered)
        if found >= max(1, needed):
            return ""
        reasons = "; ".join(
            f"{each.name}: {self.results[each.name].error}"
            for each in first
            if each not in self.answered
        )
        return f"{found} of {len(first)} agents answered, {needed} needed. {reasons}"

    @property
    def direct(self) -> RunResult | None:
        """The answer of the one agent that is the ensemble's answer; None if it has to work.

        In a race the agent whose first token arrived first wins.
        """
        if self.ensemble.strategy not in _DIRECT:
            return None
        return min((self.results[each.name] for each in self.answered), key=_get_start_ms)

    @property
    def reports(self) -> Mapping[str, AgentReport]:
        """The reports of the agents with an answer, as an ensemble reuses them."""
        return {
            each.name: replace(report, agent=each.name)
            for each in self.answered
            if (report := self.results[each.name].writer)
        }

    def make_ensemble(self) -> Ensemble:
        """Return the ensemble with only those first agents that have an answer."""
        later = self.ensemble.layers[1:]
        layers = (self.answered, *later)
        named = replace(
            self.ensemble,
            layers=layers,
            agents=tuple(agent for layer in layers for agent in layer),
            min_answers=min(self.ensemble.min_answers, len(self.answered)),
            tools_policy=None,
        )
        return replace(named, config_hash=hash_configuration(replace(named, config_hash="")))


def _get_start_ms(result: RunResult) -> float:
    writer = result.writer
    if writer is None:
        return math.inf
    return writer.elapsed_ms if writer.first_token_ms is None else writer.first_token_ms
