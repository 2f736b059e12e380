"""Ended runs for statistics of agents, without the texts of questions and answers. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from service.store.feedback.records import Rating


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFilter:
    """Runs that started at `since` or later. None stands for all ensembles and all owners."""

    since: datetime
    ensemble: str | None = None
    owner: str | None = None


class RunVote(msgspec.Struct, frozen=True):
    """A group of equal answers of a vote."""

    agents: tuple[str, ...]


class RunVotes(msgspec.Struct, frozen=True):
    """The groups of a vote, the largest first."""

    groups: tuple[RunVote, ...] = ()


class RunRank(msgspec.Struct, frozen=True):
    """An agent in a ranking, which has the best first."""

    agent: str
    score: float


class RunPart(msgspec.Struct, frozen=True):
    """A part of an answer, in characters, and the agents that it rests on."""

    start: int
    end: int
    agents: tuple[str, ...]


class RunFindings(msgspec.Struct, frozen=True):
    """The findings of a run's strategy that show an agent's part in the answer."""

    votes: RunVotes | None = None
    ranking: tuple[RunRank, ...] | None = None
    provenance: tuple[RunPart, ...] | None = None


class CallReport(msgspec.Struct, frozen=True):
    """The report of an agent, without its text. `retries` and `hedges`: None in old reports."""

    model: str = ""
    cost: float | None = None
    elapsed_ms: float = 0.0
    first_token_ms: float | None = None
    reused: bool = False
    retries: int | None = None
    hedges: int | None = None


@dataclass(frozen=True, slots=True)
class AgentOutcome:
    """The result of one agent of a run: `state` is answered, failed, skipped or that of the run."""

    agent: str
    state: str
    code: str | None
    report: CallReport
    has_text: bool

    @property
    def answered(self) -> bool:
        return self.state == "answered"


class EnsembleConfig(msgspec.Struct, frozen=True):
    """The strategy and the members of an ensemble at the time of a run."""

    class Member(msgspec.Struct, frozen=True):
        """An agent of the ensemble."""

        name: str

    strategy: str = ""
    agents: tuple[Member, ...] = ()
    provenance: bool = False

    @property
    def members(self) -> tuple[str, ...]:
        """The names of the agents that answer, without combiner, judge and chair."""
        return tuple(dict.fromkeys(each.name for each in self.agents))


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOutcome:
    """An ended run. `is_replaced`: a retry or another answer has taken its place."""

    run_id: str
    ensemble: str
    config: EnsembleConfig
    state: str
    is_replaced: bool
    answered_by: str | None
    cost_usd: float | None
    findings: RunFindings
    agents: Sequence[AgentOutcome]
    ratings: Sequence[Rating]
