"""Which openings may be written: those whose key and whose retried run nobody else has. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from service.store.records import KeyConflict, KnownKey, NewKey, NewRun


@dataclass(slots=True)
class Claims:
    """What is taken already: keys by (owner, key), retried runs by id with their successors."""

    keys: dict[tuple[str, str], KnownKey] = field(default_factory=dict)
    successors: dict[str, str | None] = field(default_factory=dict)


def admit(
    openings: Iterable[NewRun], claims: Claims
) -> tuple[list[NewRun], dict[str, KeyConflict]]:
    """Return the openings to write, and what those that came too late ran into, by run id.

    The first of a batch to claim something has it, and `claims` says so afterwards.
    """
    admitted: list[NewRun] = []
    taken: dict[str, KeyConflict] = {}
    for opening in openings:
        obstacle = _retry_taken(opening, claims.successors) or _key_taken(opening, claims.keys)
        if obstacle is not None:
            taken[opening.run_id] = obstacle
            continue
        admitted.append(opening)
        _claim(opening, claims)
    return admitted, taken


def _retry_taken(opening: NewRun, successors: Mapping[str, str | None]) -> KeyConflict | None:
    successor = successors.get(opening.retry_of) if opening.retry_of else None
    return KeyConflict(successor, None) if successor not in (None, opening.run_id) else None


def _key_taken(opening: NewRun, keys: Mapping[tuple[str, str], KnownKey]) -> KeyConflict | None:
    new = opening.key
    if new is None:
        return None
    known = keys.get((opening.ask.owner, new.key))
    if known is None or known.run_id in (opening.run_id, new.replaces):
        return None
    if known.expires_at <= opening.created_at:
        return None
    return KeyConflict(known.run_id, known.fingerprint)


def _claim(opening: NewRun, claims: Claims) -> None:
    if opening.retry_of:
        claims.successors[opening.retry_of] = opening.run_id
    if opening.key is not None:
        claims.keys[opening.ask.owner, opening.key.key] = _known(opening.key, opening.run_id)


def _known(key: NewKey, run_id: str) -> KnownKey:
    return KnownKey(key.fingerprint, run_id, key.expires_at)
