"""Events of strategies: analysis, votes, ranking, decision of a gate, provenance of an answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import msgspec

from service.events.fact import Fact

UNUSABLE_JUDGE = "judge_unusable"  # the code of a judge that gave no usable verdict
RACE_LOST = "race_lost"  # the code of an agent that another one was faster than

GateDecision = Literal["single", "vote", "combine"]


@dataclass(frozen=True, slots=True)
class VoteGroup:
    """Agents with the same answer; `share` is their part of all votes, 0 to 1."""

    answer: str
    agents: tuple[str, ...]
    share: float


@dataclass(frozen=True, slots=True)
class RankedAgent:
    """An agent with its score: 0 (worst) to 1 by ranks, 0 to 10 by a judge."""

    agent: str
    score: float


@dataclass(frozen=True, slots=True)
class ProvenancePart:
    """A part of the answer, from character `start` to before `end`, and the agents it rests on."""

    text: str
    start: int
    end: int
    agents: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Dissent:
    """A statement of an agent that the answer does not follow."""

    agent: str
    text: str


class AnalysisFinished(Fact, frozen=True, tag="analysis.finished"):
    """The combiner has compared the answers; `analysis` is its JSON."""

    type: ClassVar[str] = "analysis.finished"

    agent: str
    analysis: Mapping[str, Any]


class VoteFinished(Fact, frozen=True, tag="vote.finished"):
    """The answers are counted; `agreement` is the share of the largest group, 0 to 1."""

    type: ClassVar[str] = "vote.finished"

    groups: tuple[VoteGroup, ...]
    agreement: float


class RankingFinished(Fact, frozen=True, tag="ranking.finished"):
    """The answers are ranked, the best first."""

    type: ClassVar[str] = "ranking.finished"

    ranking: tuple[RankedAgent, ...]


class GateDecided(Fact, frozen=True, tag="gate.decided"):
    """The gate of `auto` has decided how the answer is made.

    `agreement` is 0 to 1; `saved_usd` is the estimated cost of the calls that are not made, None
    without a known price.
    """

    type: ClassVar[str] = "gate.decided"

    decision: GateDecision
    agreement: float
    why: str
    saved_usd: float | None


class ProvenanceFinished(Fact, frozen=True, tag="provenance.finished"):
    """Each part of the answer is assigned to the agents it rests on."""

    type: ClassVar[str] = "provenance.finished"

    agent: str
    provenance: tuple[ProvenancePart, ...]
    dissent: tuple[Dissent, ...] = ()


Finding = AnalysisFinished | VoteFinished | RankingFinished | GateDecided | ProvenanceFinished


def describe_finding(event: Finding) -> dict[str, Any]:
    """Return the contents of `event` as JSON, under the names that a run shows them with."""
    fields: dict[str, Any] = msgspec.to_builtins(event)
    del fields["type"]
    match event:
        case VoteFinished():
            return {"votes": fields}
        case GateDecided():
            return {"gate": fields}
        case _:
            fields.pop("agent", None)
            return fields
