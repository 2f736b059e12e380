"""The part of each agent in the answer of one run, and the answer without that agent. No I/O.

Removing a voter never harms a group that it is not in: such an answer stays. Whether the loss of a
voter or of a source makes an answer worse is not known; only that it would be another one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast

from service.store.agents.records import RunOutcome, RunVote

Change = Literal["same", "tie", "changed", "unknown"]
"""The answer without an agent: the same, a tie of votes that anything may decide, or another."""

Basis = Literal["votes", "ranking", "provenance", "winner", "nothing"]
"""The finding that an agent's part is known from."""

UNKNOWN_REASONS: Mapping[Basis, str] = {
    "nothing": "provenance is off, so that the part of an agent in a combined answer is not known",
    "ranking": "the answer is written anew from the ranked answers",
}


@dataclass(frozen=True, slots=True)
class AgentPart:
    """The part of an agent in one answer.

    `has_part`: it voted for the answer, was ranked first, is a source of it, or wrote it; without
    such a finding, that it answered. `chars` are the characters of the answer that rest on it,
    `alone_chars` those that rest on no other agent.
    """

    change: Change
    has_part: bool
    chars: int = 0
    alone_chars: int = 0


def find_basis(run: RunOutcome) -> Basis:
    """Return the finding of a run from which the parts of its agents are known."""
    findings = run.findings
    if findings.votes and findings.votes.groups and not findings.provenance:
        return "votes"
    if findings.provenance:
        return "provenance"
    if findings.ranking:
        return "ranking"
    return "winner" if run.config.strategy in ("race", "solo") else "nothing"


def find_main_basis(bases: Counter[str], *, is_unknown: bool = False) -> Basis:
    """Return the most frequent of counted bases, or of those that leave effects unknown."""
    for basis, _ in bases.most_common():
        if not is_unknown or basis in UNKNOWN_REASONS:
            found: Basis = cast(Basis, basis)
            return found
    return "nothing"


def find_parts(run: RunOutcome) -> dict[str, AgentPart]:
    """Return the part of each member of the ensemble that was called in a run with an answer."""
    states = {each.agent: each for each in run.agents}
    basis = find_basis(run)
    parts = {}
    for name in run.config.members:
        outcome = states.get(name)
        if outcome is None:
            continue
        if not outcome.answered and not outcome.has_text:
            parts[name] = AgentPart("same", has_part=False)
        elif basis == "votes":
            parts[name] = _count_again(run, name)
        elif basis == "provenance":
            parts[name] = _find_sources(run, name)
        elif basis == "ranking":
            parts[name] = _rank_again(run, name)
        elif basis == "winner":
            is_winner = run.answered_by == name
            parts[name] = AgentPart("changed" if is_winner else "same", is_winner)
        else:
            parts[name] = AgentPart("unknown", outcome.answered)
    return parts


def _count_again(run: RunOutcome, name: str) -> AgentPart:
    assert run.findings.votes is not None  # noqa: S101  (find_basis)
    groups = run.findings.votes.groups
    winner = _find_winner(groups, run.answered_by)
    if name not in winner.agents:
        return AgentPart("same", has_part=False)
    left = len(winner.agents) - 1
    most = max((len(each.agents) for each in groups if each is not winner), default=0)
    if left == 0 and most == 0:  # the only voter
        return AgentPart("changed", has_part=True)
    if left > most:
        return AgentPart("same", has_part=True)
    return AgentPart("tie" if left == most else "changed", has_part=True)


def _find_winner(groups: Sequence[RunVote], answered_by: str | None) -> RunVote:
    """Return the group whose answer was sent: of equal ones a judge may have picked a later one."""
    largest = [each for each in groups if len(each.agents) == len(groups[0].agents)]
    return next((each for each in largest if answered_by in each.agents), largest[0])


def _find_sources(run: RunOutcome, name: str) -> AgentPart:
    parts = run.findings.provenance or ()
    chars = sum(each.end - each.start for each in parts if name in each.agents)
    alone = sum(each.end - each.start for each in parts if set(each.agents) == {name})
    return AgentPart("changed" if alone else "same", chars > 0, chars, alone)


def _rank_again(run: RunOutcome, name: str) -> AgentPart:
    ranking = run.findings.ranking or ()
    is_first = ranking[0].agent == name
    if run.config.strategy == "council":  # the chair reads all answers
        return AgentPart("unknown", is_first)
    return AgentPart("changed" if is_first else "same", is_first)
