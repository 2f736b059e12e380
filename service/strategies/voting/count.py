"""Groups of equal final answers, the largest first."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

from service.events.findings import VoteFinished, VoteGroup
from service.strategies.base import AgentResult
from service.strategies.voting.final_answer import find_final_answer, make_key


@dataclass(slots=True)
class Party:
    """The agents with the same final answer, in the ensemble's order."""

    answer: str
    members: list[AgentResult] = field(default_factory=list)


def count_votes(answers: Sequence[AgentResult]) -> list[Party]:
    """Return the groups of equal answers, the largest first, then in the ensemble's order."""
    parties: dict[Hashable, Party] = {}
    for each in answers:
        final = find_final_answer(each.text)
        parties.setdefault(make_key(final), Party(final)).members.append(each)
    _join_missing_units(parties)
    return sorted(parties.values(), key=lambda party: -len(party.members))


def _join_missing_units(parties: dict[Hashable, Party]) -> None:
    """Count a number without a unit for the only group with this number and a unit."""
    for key in [key for key in parties if _number_of(key) and not _unit_of(key)]:
        same = [
            other
            for other in parties
            if other != key and _number_of(other) and _number_of(other) == _number_of(key)
        ]
        if len(same) == 1:
            joined, bare = parties[same[0]], parties.pop(key)
            joined.members += bare.members


def _number_of(key: Hashable) -> tuple[object, ...]:
    """Return the value of a key that is a number, in a tuple; empty for others."""
    value = key[1] if isinstance(key, tuple) else None
    return (value[0],) if isinstance(value, tuple) and len(value) == 2 else ()


def _unit_of(key: Hashable) -> str:
    value = key[1] if isinstance(key, tuple) else None
    return str(value[1]) if isinstance(value, tuple) else ""


def list_tied(parties: Sequence[Party]) -> Sequence[Party]:
    """Return the groups that are as large as the largest one."""
    return [party for party in parties if len(party.members) == len(parties[0].members)]


def describe_votes(parties: Sequence[Party]) -> VoteFinished:
    """Return the event of a vote; its agreement is the share of the largest group."""
    total = sum(len(party.members) for party in parties)
    groups = tuple(
        VoteGroup(
            party.answer,
            tuple(each.agent.name for each in party.members),
            round(len(party.members) / total, 3),
        )
        for party in parties
    )
    return VoteFinished(groups, groups[0].share)
